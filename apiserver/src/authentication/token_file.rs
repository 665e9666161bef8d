//! `--token-auth-file`: lines of `token,user,uid,"group1,group2"`.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use super::{Error, User};

pub(super) fn read(path: &PathBuf) -> Result<HashMap<String, Arc<User>>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Read(path.clone(), error))?;
    parse(&text).map_err(|line| Error::TokenFile { path: path.clone(), line })
}

/// `Err` is the number of the bad line.
fn parse(text: &str) -> Result<HashMap<String, Arc<User>>, usize> {
    let mut users = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.splitn(4, ',').map(|part| part.trim().trim_matches('"'));
        let (Some(token), Some(name), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(index + 1);
        };
        if token.is_empty() || name.is_empty() {
            return Err(index + 1);
        }
        let listed = parts.next().unwrap_or_default().split(',').map(str::trim).filter(|group| !group.is_empty());
        let groups = listed.chain([User::AUTHENTICATED]).map(str::to_owned).collect();
        let user = User { name: name.to_owned(), uid: uid.to_owned(), groups, ..User::default() };
        users.insert(token.to_owned(), Arc::new(user));
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_users() {
        let users = parse("# who\nt1,admin,1,\"system:masters,dev\"\n\nt2,bob,2\n").unwrap();
        assert_eq!(users["t1"].groups, ["system:masters", "dev", "system:authenticated"]);
        assert_eq!((users["t2"].name.as_str(), users["t2"].groups.len()), ("bob", 1));
        assert_eq!(parse("t1,admin,1\nonly,two"), Err(2));
    }
}
