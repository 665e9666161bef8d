//! Users and groups by the root file system's own /etc/passwd and /etc/group.
//!
//! The files are read from the snapshot's directories without mounting it, resolved inside each: a link in an image
//! leads nowhere on the host.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use containerd_client::types::Mount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::runtime::{ContainerSpec, Error};

/// Files past this are cut: no real passwd is near it.
const FILE_LIMIT: u64 = 4 << 20;

/// The directories that make up a root file system, the uppermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootFs {
    directories: Vec<PathBuf>,
}

impl RootFs {
    /// Of the mounts that a snapshotter answers with.
    pub fn of_mounts(mounts: &[Mount]) -> Self {
        let Some(mount) = mounts.first() else { return RootFs::default() };
        if mount.r#type != "overlay" {
            return RootFs { directories: vec![mount.source.clone().into()] };
        }
        let option = |name: &str| mount.options.iter().find_map(|option| option.strip_prefix(name));
        let upper = option("upperdir=").into_iter();
        let lower = option("lowerdir=").unwrap_or_default().split(':').filter(|path| !path.is_empty());
        RootFs { directories: upper.chain(lower).map(PathBuf::from).collect() }
    }

    fn read(&self, path: &str) -> Option<String> {
        self.directories.iter().find_map(|directory| {
            let root = File::open(directory).ok()?;
            let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
            let file = File::from(openat2(&root, path, how).ok()?);
            if !file.metadata().ok()?.is_file() {
                return None;
            }
            let mut text = Vec::new();
            file.take(FILE_LIMIT).read_to_end(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        })
    }
}

/// Who a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// From passwd.
    pub home: Option<String>,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// `image_user` is the image's `USER`: empty, `name`, `uid`, `name:group`, `uid:gid`, …
pub fn resolve(spec: &ContainerSpec, image_user: &str, root: &RootFs) -> Result<Identity, Error> {
    let security = &spec.security;
    let (image_name, image_group) = match image_user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (image_user, None),
    };
    let accounts = accounts(&root.read("etc/passwd").unwrap_or_default());
    let groups = root.read("etc/group").unwrap_or_default();

    let account = match (security.run_as_user, image_name) {
        (Some(uid), _) => {
            let uid = id(uid, "runAsUser")?;
            find_uid(&accounts, uid)
        }
        (None, "") => find_uid(&accounts, 0),
        (None, name) => match name.parse::<u32>() {
            Ok(uid) => find_uid(&accounts, uid),
            Err(_) if security.run_as_non_root => return Err(Error::RunAsNonNumericUser(name.to_string())),
            Err(_) => accounts.into_iter().find(|account| account.name == name).ok_or_else(|| {
                Error::InvalidSpec(format!("unable to find user {name}: no matching entries in passwd file"))
            })?,
        },
    };
    if security.run_as_non_root && account.uid == 0 {
        return Err(Error::RunAsNonRoot);
    }
    let gid = match (security.run_as_group, security.run_as_user, image_group) {
        (Some(gid), _, _) => id(gid, "runAsGroup")?,
        // The image's group goes with the image's user only.
        (None, None, Some(group)) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => group_id(&groups, group).ok_or_else(|| {
                Error::InvalidSpec(format!("unable to find group {group}: no matching entries in group file"))
            })?,
        },
        _ => account.gid,
    };
    let mut additional = vec![gid];
    for extra in memberships(&groups, &account.name) {
        if !additional.contains(&extra) {
            additional.push(extra);
        }
    }
    for extra in &security.supplemental_groups {
        let extra = id(*extra, "supplementalGroups")?;
        if !additional.contains(&extra) {
            additional.push(extra);
        }
    }
    let home = (!account.home.is_empty()).then_some(account.home);
    Ok(Identity { uid: account.uid, gid, additional_gids: additional, home })
}

fn id(number: i64, field: &str) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::InvalidSpec(format!("{field} {number} is out of range")))
}

/// A user that nobody wrote down is in group 0, as elsewhere.
fn find_uid(accounts: &[Account], uid: u32) -> Account {
    match accounts.iter().find(|account| account.uid == uid) {
        Some(found) => Account { name: found.name.clone(), uid, gid: found.gid, home: found.home.clone() },
        None => Account { name: String::new(), uid, gid: 0, home: String::new() },
    }
}

fn accounts(passwd: &str) -> Vec<Account> {
    passwd
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(Account {
                name: fields.first()?.to_string(),
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
                home: fields.get(5).unwrap_or(&"").to_string(),
            })
        })
        .collect()
}

fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

fn memberships<'a>(groups: &'a str, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups.lines().filter(|_| !name.is_empty()).filter_map(move |line| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|member| member == name);
        member.then(|| fields.get(2)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Security;

    fn root() -> (tempfile::TempDir, RootFs) {
        let directory = tempfile::tempdir().expect("directory");
        std::fs::create_dir(directory.path().join("etc")).expect("etc");
        std::fs::write(
            directory.path().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/var/www:/sbin/nologin\n",
        )
        .expect("passwd");
        std::fs::write(directory.path().join("etc/group"), "root:x:0:\nwww:x:102:\nlog:x:4:web,root\n").expect("group");
        let root = RootFs { directories: vec![directory.path().to_path_buf()] };
        (directory, root)
    }

    fn spec(security: Security) -> ContainerSpec {
        ContainerSpec { security, ..ContainerSpec::default() }
    }

    #[test]
    fn users_come_from_the_security_context_or_the_image() {
        let (_directory, root) = root();
        let user = |uid| Security { run_as_user: Some(uid), ..Security::default() };
        let table = [
            (Security::default(), "", (0, 0, vec![0, 4])),
            (Security::default(), "web", (101, 102, vec![102, 4])),
            (Security::default(), "101", (101, 102, vec![102, 4])),
            (Security::default(), "web:log", (101, 4, vec![4])),
            (Security::default(), "7:9", (7, 9, vec![9])),
            (user(101), "root:root", (101, 102, vec![102, 4])),
            (user(5000), "", (5000, 0, vec![0])),
            (
                Security { run_as_group: Some(3), supplemental_groups: vec![77, 3], ..user(5000) },
                "",
                (5000, 3, vec![3, 77]),
            ),
        ];
        for (security, image_user, (uid, gid, groups)) in table {
            let identity = resolve(&spec(security.clone()), image_user, &root).expect("identity");
            assert_eq!(
                (identity.uid, identity.gid, identity.additional_gids),
                (uid, gid, groups),
                "{security:?} {image_user}"
            );
        }
        assert!(resolve(&spec(Security::default()), "nobody-here", &root).is_err());
        assert!(resolve(&spec(Security::default()), "web:nogroup", &root).is_err());
    }

    #[test]
    fn run_as_non_root_is_held() {
        let (_directory, root) = root();
        let security = Security { run_as_non_root: true, ..Security::default() };
        assert!(matches!(resolve(&spec(security.clone()), "", &root), Err(Error::RunAsNonRoot)));
        assert!(matches!(resolve(&spec(security.clone()), "web", &root), Err(Error::RunAsNonNumericUser(_))));
        assert!(resolve(&spec(security), "101", &root).is_ok());
    }

    #[test]
    fn links_do_not_lead_out_and_upper_layers_win() {
        let (_directory, below) = root();
        let above = tempfile::tempdir().expect("directory");
        std::fs::create_dir(above.path().join("etc")).expect("etc");
        std::os::unix::fs::symlink("../../../../../../../etc/passwd", above.path().join("etc/passwd")).expect("link");
        let mut directories = vec![above.path().to_path_buf()];
        directories.extend(below.directories);
        let both = RootFs { directories };
        assert!(both.read("etc/passwd").expect("the lower one's").contains("web:"));
        std::fs::write(above.path().join("etc/group"), "own:x:9:\n").expect("group");
        assert_eq!(both.read("etc/group").as_deref(), Some("own:x:9:\n"));
    }

    #[test]
    fn overlays_are_read_from_the_top() {
        let mount = Mount {
            r#type: "overlay".into(),
            options: vec!["workdir=/w".into(), "upperdir=/u".into(), "lowerdir=/b:/a".into()],
            ..Mount::default()
        };
        assert_eq!(RootFs::of_mounts(&[mount]).directories, ["/u", "/b", "/a"].map(PathBuf::from));
    }
}
