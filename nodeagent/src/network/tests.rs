//! Chaining, caching and undoing, with plugins of the test's own: scripts that record what they were told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// Appends `<command> <stdin>` to `calls` and answers with `answer` (a shell command).
fn plugin(directory: &Path, name: &str, answer: &str) {
    let calls = directory.join("calls");
    let script = format!(
        "#!/bin/sh\nread -r input\necho \"{name} $CNI_COMMAND $CNI_CONTAINERID $input\" >> {}\n{answer}\n",
        calls.display()
    );
    let path = directory.join("bin").join(name);
    fs::write(&path, script).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

fn setup(list: &Value) -> (tempfile::TempDir, Network) {
    let directory = tempfile::tempdir().expect("directory");
    for name in ["bin", "net.d"] {
        fs::create_dir(directory.path().join(name)).expect("directory");
    }
    fs::write(directory.path().join("net.d/10-test.conflist"), list.to_string()).expect("write");
    let network = Network::new(Options {
        conf_dir: directory.path().join("net.d"),
        bin_dirs: vec![directory.path().join("bin")],
        cache_dir: directory.path().join("cache"),
    });
    (directory, network)
}

fn pod<'a>(id: &'a str, netns: &'a Path) -> Pod<'a> {
    Pod {
        sandbox_id: id,
        netns,
        namespace: "default",
        name: "web",
        uid: "u",
        port_mappings: json!([{ "hostPort": 80, "containerPort": 8080, "protocol": "tcp" }]),
    }
}

/// (plugin, command, what it read)
fn calls(directory: &Path) -> Vec<(String, String, Value)> {
    let text = fs::read_to_string(directory.join("calls")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let mut words = line.splitn(4, ' ').map(str::to_string);
            let (plugin, command) = (words.next().expect("plugin"), words.next().expect("command"));
            let input = words.nth(1).expect("input");
            (plugin, command, serde_json::from_str(&input).expect("JSON"))
        })
        .collect()
}

fn chain() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "chain",
        "plugins": [{ "type": "first" }, { "type": "second", "capabilities": { "portMappings": true } }],
    })
}

const RESULT: &str = r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.9/24"}]}'"#;

#[tokio::test]
async fn plugins_are_chained_and_undone_in_reverse() {
    let (directory, network) = setup(&chain());
    plugin(directory.path(), "first", &format!("[ $CNI_COMMAND = ADD ] && {RESULT}; exit 0"));
    plugin(directory.path(), "second", &format!("[ $CNI_COMMAND = ADD ] && {RESULT}; exit 0"));
    let netns = Path::new("/run/netns/none");
    let addresses = network.add(&pod("sandbox", netns)).await.expect("ADD");
    assert_eq!(addresses, ["10.0.0.9".parse::<IpAddr>().expect("address")]);
    assert_eq!(network.addresses("sandbox").expect("cached"), addresses);

    // The configuration is gone by the time of DEL: the cached one serves.
    fs::remove_file(directory.path().join("net.d/10-test.conflist")).expect("remove");
    network.del("sandbox").await.expect("DEL");
    network.del("sandbox").await.expect("a second DEL");

    let calls = calls(directory.path());
    let order: Vec<(&str, &str)> =
        calls.iter().map(|(plugin, command, _)| (plugin.as_str(), command.as_str())).collect();
    assert_eq!(order, [("first", "ADD"), ("second", "ADD"), ("second", "DEL"), ("first", "DEL")]);
    let (_, _, first) = &calls[0];
    assert!(first.get("prevResult").is_none() && first.get("runtimeConfig").is_none());
    let (_, _, second) = &calls[1];
    assert_eq!((&second["name"], &second["cniVersion"]), (&json!("chain"), &json!("1.0.0")));
    assert_eq!(second["prevResult"]["ips"][0]["address"], "10.0.0.9/24");
    assert_eq!(second["runtimeConfig"]["portMappings"][0]["hostPort"], 80);
    assert!(second.get("capabilities").is_none());
    assert!(calls[2].2.get("prevResult").is_some());
}

#[tokio::test]
async fn a_failed_add_is_undone_and_says_why() {
    let (directory, network) = setup(&chain());
    plugin(directory.path(), "first", &format!("[ $CNI_COMMAND = ADD ] && {RESULT}; exit 0"));
    plugin(
        directory.path(),
        "second",
        r#"[ $CNI_COMMAND = ADD ] && echo '{"code":103,"msg":"all taken","details":"of 3"}' && exit 1; exit 0"#,
    );
    let error = network.add(&pod("sandbox", Path::new("/run/netns/none"))).await.expect_err("ADD");
    assert_eq!(error.to_string(), r#"plugin type="second" failed (ADD): all taken; of 3"#);
    let commands: Vec<String> = calls(directory.path()).into_iter().map(|(_, command, _)| command).collect();
    assert_eq!(commands, ["ADD", "ADD", "DEL", "DEL"]);
    assert!(network.addresses("sandbox").expect("nothing cached").is_empty());
}

#[tokio::test]
async fn readiness_needs_a_configuration_and_its_plugins() {
    let (directory, network) = setup(&chain());
    let error = network.ready().await.expect_err("no plugin yet");
    assert!(matches!(error, Error::PluginNotFound { .. }), "{error}");
    plugin(directory.path(), "first", "exit 0");
    plugin(directory.path(), "second", "exit 0");
    network.ready().await.expect("ready");
    fs::remove_file(directory.path().join("net.d/10-test.conflist")).expect("remove");
    assert!(network.ready().await.expect_err("no configuration").to_string().starts_with("no networks found in "));
}

#[tokio::test]
async fn garbage_is_what_nobody_claims() {
    let (directory, network) = setup(&json!({
        "cniVersion": "1.1.0", "name": "one", "type": "first",
    }));
    plugin(directory.path(), "first", &format!("[ $CNI_COMMAND = ADD ] && {RESULT}; exit 0"));
    let netns = Path::new("/run/netns/none");
    network.add(&pod("kept", netns)).await.expect("ADD");
    network.add(&pod("lost", netns)).await.expect("ADD");
    network.collect_garbage(&HashSet::from(["kept".to_string()])).await.expect("GC");
    assert!(network.addresses("lost").expect("cache").is_empty());
    let (_, command, input) = calls(directory.path()).pop().expect("a call");
    assert_eq!(command, "GC");
    assert_eq!(input["cni.dev/valid-attachments"], json!([{ "containerID": "kept", "ifname": "eth0" }]));
}

#[test]
fn configurations_that_are_none_are_refused() {
    for bad in [
        json!({ "name": "n", "plugins": [] }),
        json!({ "name": "n", "plugins": [{}] }),
        json!({ "name": "n", "plugins": [{ "type": "../sh" }] }),
        json!({ "type": "bridge" }),
        json!({ "name": "n", "plugins": "x" }),
        json!([]),
    ] {
        assert!(NetworkList::parse(&bad).is_err(), "{bad}");
    }
    let list =
        NetworkList::parse(&json!({ "name": "n", "type": "bridge", "cniVersion": "0.3.1" })).expect("one plugin");
    assert!(list.supports("0.3.0") && !list.supports("0.4.0") && !list.supports("1.1.0"));
}
