//! The runtime on a real containerd, with real containers. Needs root, containerd, runc, busybox-static, iproute2 and
//! docker-registry.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use nodeagent::runtime::{
    ContainerFilter, ContainerState, Error, Event, ExecSpec, Mount, Output, RegistryAuth, Resources, Security, Session,
    TerminalSize, TerminationMessagePolicy,
};
use tokio::io::AsyncWriteExt;

use support::{IMAGE, Node, PATIENCE, Registry, busybox, container_spec, eventually, exited, log_text, run};

async fn drain(session: &mut Session) -> (String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    while let Some(output) = session.output.recv().await {
        match output {
            Output::Stdout(text) => stdout += &String::from_utf8_lossy(&text),
            Output::Stderr(text) => stderr += &String::from_utf8_lossy(&text),
        }
    }
    (stdout, stderr)
}

async fn wait_for_output(session: &mut Session, wanted: &str) -> String {
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, async {
        while !text.contains(wanted) {
            match session.output.recv().await.expect("the session goes on") {
                Output::Stdout(chunk) | Output::Stderr(chunk) => text += &String::from_utf8_lossy(&chunk),
            }
        }
    })
    .await
    .expect("output in time");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_and_leaves_nothing() {
    let node = Node::start();
    let runtime = node.connect().await;
    runtime.network_ready().await.expect("network");
    let image = runtime.image(IMAGE).await.expect("images").expect("imported");
    assert!(image.image_id.starts_with("keelson.test/busybox@sha256:"), "{image:?}");
    assert!(runtime.image("keelson.test/absent:1").await.expect("images").is_none());

    let start = Instant::now();
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("web")).await.expect("sandbox");
    let made = start.elapsed();
    assert_eq!(sandbox.ips.len(), 1);
    let script = "echo $FROM_IMAGE $GREETING; id -u; hostname; cat /etc/resolv.conf; echo complaint >&2; cat /data/file; \
                  echo done > /dev/termination-log; trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done";
    let mut spec = container_spec("main", script);
    spec.env = vec![("GREETING".into(), "hello".into())];
    fs::create_dir_all(node.path("volume")).expect("volume");
    fs::write(node.path("volume/file"), "from the volume\n").expect("file");
    spec.mounts =
        vec![Mount { source: node.path("volume"), destination: "/data".into(), read_only: true, ..Mount::default() }];
    let start = Instant::now();
    let container = run(&runtime, &sandbox, &spec).await;
    println!("sandbox {made:?}, container {:?}", start.elapsed());
    assert!(container.is_running() && container.pid > 0);
    eventually("the container is up", || log_text(&container).contains("up\n")).await;
    let text = log_text(&container);
    assert!(text.contains("yes hello\n0\nweb\nsearch default.svc.cluster.local\nnameserver 10.96.0.10\n"), "{text}");
    assert!(text.contains("from the volume\n"));
    let raw = fs::read_to_string(&container.log_path).expect("log");
    assert!(raw.lines().any(|line| line.ends_with(" stderr F complaint")), "{raw}");
    let hosts = fs::read_to_string(node.path("pods/web/etc-hosts")).expect("hosts");
    assert!(hosts.contains(&format!("{}\tweb", sandbox.ips[0])), "{hosts}");
    let usage = runtime.usage(&container.id).expect("usage");
    assert!(usage.memory_bytes > 0);

    let start = Instant::now();
    let ended = runtime.stop_container(&container.id, PATIENCE).await.expect("stop");
    let exit = ended.exit().expect("exit");
    assert_eq!((exit.exit_code, exit.reason.as_str(), exit.message.as_str()), (7, "Error", "done\n"));
    assert!(exit.started_at.is_some_and(|started| started <= exit.finished_at));
    println!("stopped {:?}", start.elapsed());

    let start = Instant::now();
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    println!("removed {:?}", start.elapsed());
    runtime.remove_sandbox(&sandbox.id).await.expect("remove what is gone");
    assert!(runtime.containers(&ContainerFilter::default()).await.expect("list").is_empty());
    assert_eq!(node.ctr(&["containers", "list", "-q"]).expect("list"), "");
    assert_eq!(node.ctr(&["tasks", "list", "-q"]).expect("list"), "");
    assert!(container.log_path.exists(), "logs stay");
    for directory in ["run/netns", "run/shm", "cni-cache"] {
        let left = fs::read_dir(node.path(directory)).expect("directory").count();
        assert_eq!(left, 0, "{directory}");
    }
    let cgroup = format!("/sys/fs/cgroup/memory{}/burstable/poduid-web", node.cgroup_root);
    assert!(!std::path::Path::new(&cgroup).exists());
    let addresses = fs::read_dir(node.path("ipam/test")).expect("store").flatten();
    let addresses = addresses.filter(|entry| entry.file_name().to_string_lossy().starts_with("10.")).count();
    assert_eq!(addresses, 0, "the address is free");
    eventually("the shim is gone", || support::shims(&node.path("containerd.sock").display().to_string()).is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_end_in_all_ways() {
    let node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("ends")).await.expect("sandbox");

    let mut image_command = container_spec("image", "");
    image_command.command = Vec::new();
    let container = run(&runtime, &sandbox, &image_command).await;
    let ended = exited(&runtime, &container.id).await;
    assert_eq!(ended.exit().map(|exit| (exit.exit_code, exit.reason.as_str())), Some((0, "Completed")));
    eventually("its output", || log_text(&ended) == "from the image\n").await;

    let mut fallback = container_spec("fallback", "echo the reason; exit 3");
    fallback.termination_message_policy = TerminationMessagePolicy::FallbackToLogsOnError;
    let container = run(&runtime, &sandbox, &fallback).await;
    let ended = exited(&runtime, &container.id).await;
    assert_eq!(ended.exit().map(|exit| (exit.exit_code, exit.message.as_str())), Some((3, "the reason\n")));

    let mut missing = container_spec("missing", "");
    missing.command = vec!["/bin/absent".into()];
    let container = runtime.create_container(&sandbox, &missing).await.expect("create");
    let error = runtime.start_container(&container.id).await.expect_err("nothing to run");
    assert!(error.to_string().contains("no such file or directory"), "{error}");
    let failed = runtime.container(&container.id).await.expect("state").expect("known");
    let exit = failed.exit().expect("exit");
    assert_eq!((exit.exit_code, exit.reason.as_str()), (128, "StartError"));

    let mut hungry = container_spec("hungry", "head -c 200000000 /dev/zero | tail");
    hungry.resources = Resources { memory_limit: Some(24 << 20), ..Resources::default() };
    let container = run(&runtime, &sandbox, &hungry).await;
    let ended = exited(&runtime, &container.id).await;
    assert_eq!(ended.exit().map(|exit| exit.reason.as_str()), Some("OOMKilled"), "{:?}", ended.exit());

    // It hears no SIGTERM: the grace runs out.
    let deaf = container_spec("deaf", "trap '' TERM; echo up; while true; do sleep 0.05; done");
    let container = run(&runtime, &sandbox, &deaf).await;
    eventually("it is deaf", || log_text(&container).contains("up")).await;
    let ended = runtime.stop_container(&container.id, Duration::from_millis(300)).await.expect("stop");
    assert_eq!(ended.exit().map(|exit| exit.exit_code), Some(137));

    let mut root = container_spec("root", "true");
    root.security = Security { run_as_non_root: true, ..Security::default() };
    let refused = runtime.create_container(&sandbox, &root).await;
    assert!(matches!(refused, Err(Error::RunAsNonRoot)));
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn security_contexts_are_held() {
    let node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("secure")).await.expect("sandbox");
    let mut spec =
        container_spec("user", "id; touch /file || echo read-only; grep -E 'CapEff|NoNewPrivs' /proc/self/status");
    spec.security = Security {
        run_as_user: Some(101),
        supplemental_groups: vec![77],
        read_only_root_filesystem: true,
        allow_privilege_escalation: Some(false),
        capabilities_drop: vec!["ALL".into()],
        ..Security::default()
    };
    let container = run(&runtime, &sandbox, &spec).await;
    let ended = exited(&runtime, &container.id).await;
    eventually("its output", || log_text(&ended).contains("NoNewPrivs")).await;
    let text = log_text(&ended);
    assert!(text.contains("uid=101(web) gid=102(web) groups=77"), "{text}");
    assert!(
        text.contains("read-only") && text.contains("NoNewPrivs:\t1") && text.contains("CapEff:\t0000000000000000"),
        "{text}"
    );

    let mut privileged = container_spec("privileged", "ls /dev/kmsg && mkdir -p /x && echo fine");
    privileged.security = Security { privileged: true, ..Security::default() };
    let container = run(&runtime, &sandbox, &privileged).await;
    let ended = exited(&runtime, &container.id).await;
    assert_eq!(ended.exit().map(|exit| exit.exit_code), Some(0), "{}", log_text(&ended));

    let mut shared = node.sandbox_spec("shared");
    shared.share_process_namespace = true;
    shared.host_network = true;
    let sandbox_shared = runtime.create_sandbox(&shared).await.expect("sandbox");
    assert!(sandbox_shared.ips.is_empty() && sandbox_shared.netns.is_none());
    let container = run(&runtime, &sandbox_shared, &container_spec("look", "ps")).await;
    let ended = exited(&runtime, &container.id).await;
    eventually("it sees the pause process", || log_text(&ended).contains("/pause")).await;
    for sandbox in [sandbox, sandbox_shared] {
        runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_inside() {
    let node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("exec")).await.expect("sandbox");
    let container = run(&runtime, &sandbox, &container_spec("main", "while true; do sleep 1; done")).await;
    let command = |script: &str| vec!["/bin/sh".to_string(), "-c".to_string(), script.to_string()];

    let start = Instant::now();
    let result =
        runtime.exec_sync(&container.id, &command("echo out; echo err >&2; exit 4"), PATIENCE).await.expect("exec");
    println!("exec {:?}", start.elapsed());
    assert_eq!(
        (result.exit_code, result.stdout.as_slice(), result.stderr.as_slice()),
        (4, &b"out\n"[..], &b"err\n"[..])
    );
    let big = runtime.exec_sync(&container.id, &command("head -c 1000000 /dev/zero"), PATIENCE).await.expect("exec");
    assert_eq!(big.stdout.len(), 16 << 10);
    let slow = runtime.exec_sync(&container.id, &command("sleep 100"), Duration::from_millis(200)).await;
    assert!(matches!(slow, Err(Error::ExecTimeout(_))), "{slow:?}");
    let absent =
        runtime.exec_sync(&container.id, &["/bin/absent".to_string()], PATIENCE).await.expect_err("no command");
    assert!(absent.to_string().contains("no such file"), "{absent}");

    let spec = |tty| ExecSpec {
        container_id: container.id.clone(),
        command: vec!["/bin/cat".into()],
        tty,
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let mut session = runtime.exec(spec(false)).await.expect("exec");
    let mut stdin = session.stdin.take().expect("stdin");
    stdin.write_all(b"through the pipe").await.expect("write");
    drop(stdin);
    assert_eq!(drain(&mut session).await.0, "through the pipe");
    assert_eq!(session.wait().await.expect("exit"), 0);
    drop(session);

    let mut shell = ExecSpec { command: vec!["/bin/sh".into()], ..spec(true) };
    shell.stderr = false;
    let mut session = runtime.exec(shell).await.expect("exec");
    session.resize(TerminalSize { width: 99, height: 33 }).await.expect("resize");
    let mut stdin = session.stdin.take().expect("stdin");
    stdin.write_all(b"stty size; exit 5\n").await.expect("write");
    let text = wait_for_output(&mut session, "33 99").await;
    assert!(text.contains("stty size"), "a terminal echoes: {text}");
    assert_eq!(session.wait().await.expect("exit"), 5);
    drop(session);

    eventually("execs leave nothing", || {
        fs::read_dir(node.path("run/io")).map(|entries| entries.count() == 0).unwrap_or(true)
    })
    .await;
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_given_up_while_it_starts_holds_nothing_up() {
    let node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("given-up")).await.expect("sandbox");
    let container = run(&runtime, &sandbox, &container_spec("lasting", "sleep 1000")).await;
    let command = ["true".to_owned()];
    // Given up at each of its steps: it is asked as often and not once more.
    for steps in 1..=24 {
        let mut starting = std::pin::pin!(runtime.exec_sync(&container.id, &command, Duration::from_secs(60)));
        let mut left = steps;
        std::future::poll_fn(|context| {
            left -= 1;
            if left == 0 { std::task::Poll::Ready(()) } else { starting.as_mut().poll(context).map(drop) }
        })
        .await;
    }
    // The shim waits for half a minute where a pipe has lost its reader.
    let removed = tokio::time::timeout(Duration::from_secs(20), runtime.remove_container(&container.id)).await;
    removed.expect("nothing holds it up").expect("removed");
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_reaches_stdin_with_and_without_a_terminal() {
    let node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("attach")).await.expect("sandbox");
    for tty in [false, true] {
        let mut spec = container_spec(
            if tty { "tty" } else { "plain" },
            "while read line; do echo \"got $line\"; [ $line = end ] && exit 9; done",
        );
        spec.stdin = true;
        spec.tty = tty;
        let container = run(&runtime, &sandbox, &spec).await;
        eventually("its log is there", || container.log_path.exists()).await;
        let mut session = runtime.attach(&container.id, true).await.expect("attach");
        let mut stdin = session.stdin.take().expect("stdin");
        stdin.write_all(b"one\n").await.expect("write");
        wait_for_output(&mut session, "got one").await;
        // Leaving and coming back: the container's stdin stays open.
        drop(stdin);
        drop(session);
        let mut session = runtime.attach(&container.id, true).await.expect("attach");
        let mut stdin = session.stdin.take().expect("stdin");
        stdin.write_all(b"end\n").await.expect("write");
        wait_for_output(&mut session, "got end").await;
        assert_eq!(session.wait().await.expect("exit"), 9);
        eventually("all of it is in the log", || {
            let text = log_text(&container);
            text.contains("got one") && text.contains("got end")
        })
        .await;
    }
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_and_a_killed_containerd_lose_nothing() {
    let mut node = Node::start();
    let runtime = node.connect().await;
    let sandbox = runtime.create_sandbox(&node.sandbox_spec("lasting")).await.expect("sandbox");
    let script = "n=0; while true; do n=$((n+1)); echo $n; sleep 0.01; done";
    let lasting = run(&runtime, &sandbox, &container_spec("lasting", script)).await;
    let passing =
        run(&runtime, &sandbox, &container_spec("passing", "while [ ! -e /dev/shm/go ]; do sleep 0.02; done; exit 6"))
            .await;
    drop(runtime);

    // While no agent lives, one container logs on and the other ends.
    let lines = || log_text(&lasting).lines().count();
    let before = lines();
    let shared_memory = node.path("run/shm").join(&sandbox.id);
    fs::write(shared_memory.join("go"), "").expect("tell it to end");
    eventually("it logs on", || lines() > before + 20).await;
    eventually("the other has ended", || node.ctr(&["tasks", "list"]).is_ok_and(|list| list.contains("STOPPED"))).await;

    let runtime = node.connect().await;
    let found = runtime.sandbox(&sandbox.id).await.expect("state").expect("the sandbox is known");
    assert!(found.ready && found.ips == sandbox.ips && found.pod == sandbox.pod);
    let found = runtime.container(&lasting.id).await.expect("state").expect("known");
    assert!(found.is_running() && found.pid == lasting.pid, "{found:?}");
    assert_eq!((found.spec_hash.as_str(), found.image_id.as_str()), ("hash", lasting.image_id.as_str()));
    let ContainerState::Running { started_at } = found.state else { panic!("not running") };
    let age = started_at.duration_since(lasting.created_at).unwrap_or_default();
    assert!(age < PATIENCE);
    let found = runtime.container(&passing.id).await.expect("state").expect("known");
    assert_eq!(found.exit().map(|exit| exit.exit_code), Some(6), "{found:?}");

    node.kill_containerd();
    let during = lines();
    eventually("it logs on without containerd", || lines() > during + 20).await;
    let mut events = runtime.events();
    node.start_containerd();
    tokio::time::timeout(PATIENCE, async { while events.recv().await != Some(Event::Resync) {} })
        .await
        .expect("a resync");
    let found = runtime.container(&lasting.id).await.expect("state").expect("known");
    assert!(found.is_running() && found.pid == lasting.pid);

    let numbers: Vec<u64> = log_text(&lasting).lines().filter_map(|line| line.parse().ok()).collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "every line, once, in order");
    // What an agent left that died over a sandbox goes, what lives stays.
    let left = node.path("run/shm/left");
    fs::create_dir_all(&left).expect("left over");
    runtime.collect_garbage(&node.cgroup_root).await.expect("collect");
    assert!(!left.exists() && shared_memory.exists());
    assert!(
        runtime
            .exec_sync(&lasting.id, &["/bin/true".to_string()], PATIENCE)
            .await
            .is_ok_and(|result| result.exit_code == 0)
    );
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_pause_process_is_told_and_many_pods_come_at_once() {
    const PODS: usize = 10;
    let node = Node::start();
    let runtime = node.connect().await;
    let start = Instant::now();
    let pods = (0..PODS).map(|number| {
        let (runtime, spec) = (runtime.clone(), node.sandbox_spec(&format!("pod-{number}")));
        async move {
            let sandbox = runtime.create_sandbox(&spec).await.expect("sandbox");
            let container = run(&runtime, &sandbox, &container_spec("main", "while true; do sleep 1; done")).await;
            (sandbox, container)
        }
    });
    let pods = futures::future::join_all(pods).await;
    println!("{PODS} pods in {:?}", start.elapsed());
    let mut addresses: Vec<_> = pods.iter().map(|(sandbox, _)| sandbox.ips[0]).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), PODS);

    let mut events = runtime.events();
    let (first, _) = &pods[0];
    let pid = nix::unistd::Pid::from_raw(first.pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill the pause process");
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(Event::SandboxExited { sandbox_id, .. }) = events.recv().await {
                return assert_eq!(sandbox_id, first.id);
            }
        }
    })
    .await
    .expect("an event");
    let start = Instant::now();
    futures::future::join_all(pods.iter().map(|(sandbox, _)| async {
        runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    }))
    .await;
    println!("{PODS} pods removed in {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_registries() {
    let node = Node::start();
    let open = Registry::start(false);
    let closed = Registry::start(true);
    let basic = RegistryAuth::Basic { username: "test".into(), password: "secret".into() };
    let image = busybox();
    open.push("team/busybox:v1", &image, &oci_client::secrets::RegistryAuth::Anonymous).await;
    let secret = oci_client::secrets::RegistryAuth::Basic("test".into(), "secret".into());
    closed.push("team/private:v1", &image, &secret).await;
    // The content is here by import: without it, every byte has to come from the registry.
    node.ctr(&["images", "remove", "--sync", IMAGE]).expect("remove");

    let mut options = node.options();
    options.registries.mirrors.insert("mirrored.test".into(), vec![open.host.clone()]);
    let runtime = nodeagent::runtime::Runtime::connect(options).await.expect("connect");
    let reference = format!("{}/team/busybox:v1", open.host);
    let start = Instant::now();
    let pulled = runtime.pull_image(&reference, &[]).await.expect("pull");
    println!("pulled in {:?}", start.elapsed());
    assert_eq!(pulled.reference, reference);
    assert!(pulled.image_id.starts_with(&format!("{}/team/busybox@sha256:", open.host)), "{pulled:?}");
    assert_eq!(runtime.image(&reference).await.expect("image"), Some(pulled.clone()));

    let by_digest = runtime.pull_image(&pulled.image_id, &[]).await.expect("pull by digest");
    assert_eq!(by_digest.digest, pulled.digest);
    let mirrored = runtime.pull_image("mirrored.test/team/busybox:v1", &[]).await.expect("pull by mirror");
    assert!(mirrored.image_id.starts_with("mirrored.test/team/busybox@"), "{mirrored:?}");
    let images = runtime.images().await.expect("images");
    assert_eq!(images.len(), 1, "{images:?}");
    assert!(images[0].names.contains(&reference));

    let private = format!("{}/team/private:v1", closed.host);
    let refused = runtime.pull_image(&private, &[]).await.expect_err("no credentials");
    assert!(matches!(&refused, Error::PullImage { reason, .. } if reason.contains("pull access denied")), "{refused}");
    let wrong = RegistryAuth::Basic { username: "test".into(), password: "wrong".into() };
    runtime.pull_image(&private, std::slice::from_ref(&wrong)).await.expect_err("wrong password");
    runtime.pull_image(&private, &[wrong, basic]).await.expect("the second secret fits");

    let absent = format!("{}/team/absent:v1", open.host);
    let error = runtime.pull_image(&absent, &[]).await.expect_err("no such image");
    assert!(matches!(&error, Error::PullImage { .. }) && error.to_string().ends_with(": not found"), "{error}");
    let unreachable = runtime.pull_image("127.0.0.1:1/x:y", &[]).await.expect_err("nobody there");
    assert!(matches!(unreachable, Error::RegistryUnavailable { .. }), "{unreachable}");
    assert!(matches!(runtime.pull_image("NOT AN IMAGE", &[]).await, Err(Error::InvalidImageName { .. })));

    let sandbox = runtime.create_sandbox(&node.sandbox_spec("pulled")).await.expect("sandbox");
    let mut spec = container_spec("main", "echo it runs");
    spec.image = reference.clone();
    let container = run(&runtime, &sandbox, &spec).await;
    let ended = exited(&runtime, &container.id).await;
    eventually("its output", || log_text(&ended) == "it runs\n").await;
    runtime.remove_sandbox(&sandbox.id).await.expect("remove");
    runtime.remove_image(&reference).await.expect("remove image");
    assert!(runtime.image(&reference).await.expect("image").is_none());
}
