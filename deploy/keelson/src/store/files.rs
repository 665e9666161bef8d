//! Backups as files, and work on data directories: the latter is done by the `raftstore` binary.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use keelson_wire::etcdserverpb::SnapshotRequest;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;

use super::access::{Access, refused};
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::supervisor;

#[derive(Subcommand)]
pub enum Snapshot {
    /// Take a backup while the store runs
    Save { file: PathBuf },
    /// Check a backup and say what is in it
    Status { file: PathBuf },
    /// Make the data directory of one member of a new cluster
    Restore(Restore),
}

#[derive(Args)]
pub struct Restore {
    /// The backup
    file: PathBuf,
    /// The member's data directory: empty, or not there
    #[arg(long)]
    data_dir: PathBuf,
    /// The member's name, as --initial-cluster has it
    #[arg(long, default_value = "default")]
    name: String,
    /// All members of the new cluster: NAME=PEER_URL,...
    #[arg(long)]
    initial_cluster: String,
    /// Sets this cluster apart from others with the same URLs and from the same backup
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Go on from a revision that is higher by this much, and have all watches of earlier ones begin anew: nobody sees
    /// time run backwards. 0 keeps the backup's
    #[arg(long, default_value_t = 1_000_000_000)]
    bump_revision: u64,
}

#[derive(Args)]
pub struct Recover {
    /// The member that is left
    #[arg(long, default_value = "member-1")]
    member: String,
    /// The members that cannot be reached, or whose data is still here, are gone for good
    #[arg(long)]
    others_are_gone: bool,
}

/// The binary beside this one.
fn raftstore() -> Result<PathBuf> {
    let this = std::env::current_exe().map_err(|error| Error::tried("find the keelson binary", error))?;
    let program = this.with_file_name("raftstore");
    if program.exists() {
        return Ok(program);
    }
    Err(Error::new(format!("there is no {}", program.display())).hint("install raftstore beside keelson"))
}

fn run(arguments: &[String]) -> Result<()> {
    let program = raftstore()?;
    let output = Command::new(&program).args(arguments).output();
    let output = output.map_err(|error| Error::file("run", &program, error))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(said.trim().trim_start_matches("raftstore: ").to_owned()))
}

pub async fn save(access: &Access, file: &Path) -> Result<()> {
    if file.exists() {
        return Err(Error::new(format!("{} exists already", file.display())).hint("name another file"));
    }
    let mut client = MaintenanceClient::new(access.any().await?);
    let failed = |status: tonic::Status| refused("take a backup", &status);
    let mut blobs = client.snapshot(SnapshotRequest {}).await.map_err(failed)?.into_inner();
    // Under its own name only when it is whole and was found right.
    let draft = file.with_extension("part");
    let io = |error: std::io::Error| Error::file("write", &draft, error);
    let mut out = std::io::BufWriter::new(std::fs::File::create(&draft).map_err(io)?);
    while let Some(blob) = blobs.message().await.map_err(failed)? {
        out.write_all(&blob.blob).map_err(io)?;
    }
    let out = out.into_inner().map_err(|error| io(error.into_error()))?;
    out.sync_all().map_err(io)?;
    status(&draft)?;
    std::fs::rename(&draft, file).map_err(|error| Error::file("write", file, error))?;
    println!("\nSaved {}. To use it: keelson store snapshot restore --help", file.display());
    Ok(())
}

pub fn status(file: &Path) -> Result<()> {
    run(&["snapshot".to_owned(), "status".to_owned(), file.display().to_string()])
}

pub fn restore(options: &Restore) -> Result<()> {
    let mut arguments = vec![
        "snapshot".to_owned(),
        "restore".to_owned(),
        options.file.display().to_string(),
        format!("--data-dir={}", options.data_dir.display()),
        format!("--name={}", options.name),
        format!("--initial-cluster={}", options.initial_cluster),
        format!("--initial-cluster-token={}", options.initial_cluster_token),
    ];
    if options.bump_revision > 0 {
        arguments.extend([format!("--bump-revision={}", options.bump_revision), "--mark-compacted".to_owned()]);
    }
    run(&arguments)
}

/// The survivor of a cluster of `keelson up` becomes its one member, as `member-1`. The others' data is set aside.
pub fn recover(layout: &Layout, options: &Recover) -> Result<()> {
    let Some(mut cluster) = Cluster::load(layout)? else {
        return Err(Error::new(format!("there is no cluster below {}", layout.root().display())).hint(
            "name its directory with --root; a member elsewhere is recovered with `raftstore recover --data-dir DIR`",
        ));
    };
    let names = cluster.member_names();
    if !names.contains(&options.member) {
        return Err(Error::new(format!("the cluster has no member {}", options.member))
            .hint(format!("it has {}", names.join(", "))));
    }
    if supervisor::is_running(layout) {
        return Err(Error::new("the cluster runs").hint("stop it first: keelson down"));
    }
    if let Some(member) = cluster.recovering.as_ref().filter(|member| **member != options.member) {
        return Err(Error::new(format!("a recovery of {member} was cut short"))
            .hint(format!("finish it first: keelson store recover --member={member}")));
    }
    let others: Vec<&String> = names.iter().filter(|name| **name != options.member).collect();
    let present = others.iter().filter(|name| layout.store(name).join("member.json").exists()).count();
    let is_begun = cluster.recovering.is_some();
    if present + 1 > names.len() / 2 && present > 0 && !options.others_are_gone && !is_begun {
        return Err(Error::new(format!("nothing was changed: with {} the data of a quorum is here", options.member))
            .hint("`keelson up` takes it up; if the others' data is of no use, say so with --others-are-gone"));
    }
    let certificate = |extension| layout.pki_file("raftstore", extension).display().to_string();
    let mut arguments = vec![
        "recover".to_owned(),
        format!("--data-dir={}", layout.store(&options.member).display()),
        format!("--name={}", names[0]),
        format!("--initial-advertise-peer-urls={}", cluster.peer_url(0)),
        format!("--peer-cert-file={}", certificate("crt")),
        format!("--peer-key-file={}", certificate("key")),
        format!("--peer-trusted-ca-file={}", layout.pki_file("ca", "crt").display()),
    ];
    if options.others_are_gone {
        arguments.push("--others-are-gone".to_owned());
    }
    // First of all it is written down: cut short at any point, `keelson up` starts nothing, which could be a quorum of the
    // old cluster beside the new one, or a new one without anything in it.
    let before = cluster.clone();
    cluster.recovering = Some(options.member.clone());
    cluster.save(layout)?;
    // A recovery that was cut short at its very end has moved the survivor already.
    if options.member == names[0] || layout.store(&options.member).exists() {
        if let Err(refusal) = run(&arguments) {
            before.save(layout)?;
            return Err(refusal);
        }
        let now = jiff::Timestamp::now().as_second();
        let moved =
            |from: &Path, to: &Path| std::fs::rename(from, to).map_err(|error| Error::file("move", from, error));
        for name in others {
            if layout.store(name).exists() {
                moved(&layout.store(name), &layout.store(&format!("{name}.lost-{now}")))?;
            }
        }
        if options.member != names[0] {
            moved(&layout.store(&options.member), &layout.store(&names[0]))?;
        }
    }
    (cluster.members, cluster.founders, cluster.recovering) = (1, Some(1), None);
    cluster.save(layout)?;
    println!("\nThe cluster's store has one member now. Next: keelson up");
    Ok(())
}
