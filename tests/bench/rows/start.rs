//! Cold start: from the exec of the processes to /readyz.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use keelson_tests::harness::{Cluster, Result, run};

use crate::connection::Server;
use crate::table::Table;

pub async fn cold_start(cluster: &Cluster, server: &Server, table: &mut Table) -> Result<()> {
    cluster.keelson("down", &[])?;
    let root = cluster.root().display().to_string();
    let keelson = std::env::current_exe()?.with_file_name("keelson");
    // `up` does more than start processes (it waits for nodes), so it runs beside the measurement.
    let start = Instant::now();
    let up = std::thread::spawn(move || run(keelson, &["up", "--root", &root], None));
    let ready = async {
        loop {
            if let Ok(mut connection) = server.connect().await
                && let Ok((200, _)) = connection.attempt(Method::GET, "/readyz", "application/json", Bytes::new()).await
            {
                return start.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let ready = tokio::time::timeout(Duration::from_secs(60), ready).await?;
    table.add("cold start to /readyz", format!("{:.2} s", ready.as_secs_f64()), "2.4 s");
    let output = up.join().map_err(|_| "the thread that runs up panicked")??;
    if output.succeeded() {
        table.add("cold start to a Ready node", format!("{:.2} s", start.elapsed().as_secs_f64()), "-");
        return Ok(());
    }
    Err(format!("keelson up failed: {}", output.stderr).into())
}
