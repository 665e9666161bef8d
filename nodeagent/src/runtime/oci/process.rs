//! The process that a container starts with.

use oci_spec::runtime::{Process, ProcessBuilder, User, UserBuilder};

use super::users::{self, Identity};
use super::{ContainerInput, HostLimits, capabilities, invalid};
use crate::runtime::image::Unpacked;
use crate::runtime::{ContainerSpec, Error};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// As upstream: the sandbox is the last to be killed for memory.
const SANDBOX_OOM_SCORE_ADJ: i64 = -998;
const NOBODY: u32 = 65535;

pub fn sandbox(image: &Unpacked, limits: &HostLimits) -> Result<Process, Error> {
    let nobody = Identity { uid: NOBODY, gid: NOBODY, ..Identity::default() };
    ProcessBuilder::default()
        .terminal(false)
        .args(image.execution.entrypoint.clone())
        .env(vec![DEFAULT_PATH.to_string()])
        .cwd("/")
        .user(user(&nobody)?)
        .capabilities(capabilities::none()?)
        .no_new_privileges(true)
        .oom_score_adj(limits.oom_score_adj(SANDBOX_OOM_SCORE_ADJ))
        .rlimits(Vec::new())
        .build()
        .map_err(invalid)
}

pub fn container(input: &ContainerInput<'_>) -> Result<Process, Error> {
    let (spec, image) = (input.spec, input.image);
    let identity = users::resolve(spec, &image.execution.user, input.root)?;
    let no_new_privileges = !spec.security.allow_privilege_escalation.unwrap_or(true) && !spec.security.privileged;
    let working_dir = match spec.working_dir.as_deref() {
        Some(directory) if !directory.is_empty() => directory,
        _ if !image.execution.working_dir.is_empty() => &image.execution.working_dir,
        _ => "/",
    };
    ProcessBuilder::default()
        .terminal(spec.tty)
        .args(arguments(spec, image)?)
        .env(environment(spec, image, &identity))
        .cwd(working_dir)
        .user(user(&identity)?)
        .capabilities(capabilities::of_container(&spec.security, input.limits)?)
        .no_new_privileges(no_new_privileges)
        .oom_score_adj(input.limits.oom_score_adj(spec.oom_score_adj))
        // Those that containerd itself runs with: raising them may not be ours to do.
        .rlimits(Vec::new())
        .build()
        .map_err(invalid)
}

/// The container's command replaces the image's entrypoint and cmd; its args replace the cmd.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>
fn arguments(spec: &ContainerSpec, image: &Unpacked) -> Result<Vec<String>, Error> {
    let mut arguments = Vec::new();
    if spec.command.is_empty() {
        arguments.extend(image.execution.entrypoint.iter().cloned());
        let rest = if spec.args.is_empty() { &image.execution.cmd } else { &spec.args };
        arguments.extend(rest.iter().cloned());
    } else {
        arguments.extend(spec.command.iter().cloned());
        arguments.extend(spec.args.iter().cloned());
    }
    if arguments.is_empty() {
        return Err(Error::InvalidSpec("no command specified".into()));
    }
    Ok(arguments)
}

/// Later ones win, each name once, in the order of first appearance.
fn environment(spec: &ContainerSpec, image: &Unpacked, identity: &Identity) -> Vec<String> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value.to_string(),
        None => variables.push((name.to_string(), value.to_string())),
    };
    let (path_name, path) = DEFAULT_PATH.split_once('=').unwrap_or_default();
    set(path_name, path);
    if spec.tty {
        set("TERM", "xterm");
    }
    if let Some(home) = &identity.home {
        set("HOME", home);
    }
    for variable in &image.execution.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    for (name, value) in &spec.env {
        set(name, value);
    }
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn user(identity: &Identity) -> Result<User, Error> {
    UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone())
        .build()
        .map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::image::Execution;

    fn image(entrypoint: &[&str], cmd: &[&str]) -> Unpacked {
        let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        Unpacked {
            config_digest: String::new(),
            chain_id: String::new(),
            size: 0,
            execution: Execution {
                entrypoint: texts(entrypoint),
                cmd: texts(cmd),
                env: vec!["PATH=/image".into(), "A=image".into()],
                ..Execution::default()
            },
        }
    }

    #[test]
    fn command_and_args_replace_what_the_image_has() {
        let texts = |list: &[&str]| -> Vec<String> { list.iter().map(|text| text.to_string()).collect() };
        // The table of the Kubernetes documentation.
        let table: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["/ep-1", "foo", "bar"]),
            (&["/ep-2"], &[], &["/ep-2"]),
            (&[], &["zoo"], &["/ep-1", "zoo"]),
            (&["/ep-2"], &["zoo"], &["/ep-2", "zoo"]),
        ];
        for (command, args, expected) in table {
            let spec = ContainerSpec { command: texts(command), args: texts(args), ..ContainerSpec::default() };
            let arguments = arguments(&spec, &image(&["/ep-1"], &["foo", "bar"])).expect("arguments");
            assert_eq!(arguments, expected, "{command:?} {args:?}");
        }
        assert!(arguments(&ContainerSpec::default(), &image(&[], &[])).is_err());
    }

    #[test]
    fn the_pods_environment_wins_over_the_images() {
        let spec = ContainerSpec {
            env: vec![("A".into(), "pod".into()), ("B".into(), "1=2".into())],
            ..ContainerSpec::default()
        };
        let identity = Identity { home: Some("/root".into()), ..Identity::default() };
        let environment = environment(&spec, &image(&[], &[]), &identity);
        assert_eq!(environment, ["PATH=/image", "HOME=/root", "A=pod", "B=1=2"]);
    }
}
