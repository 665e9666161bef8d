//! What strangers and broken clients send: it is refused, and the member goes on.

use std::net::SocketAddr;
use std::time::Duration;

use keelson_wire::etcdserverpb::kv_client::KvClient;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{Cluster, Member, PATIENCE, get, own_loopback, put};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fn client_address(member: &Member) -> SocketAddr {
    (own_loopback(), member.client_port).into()
}

/// Whether the other side ends the connection; what it says before is read and forgotten.
async fn is_ended(stream: &mut TcpStream, within: Duration) -> bool {
    let mut heard = [0; 4096];
    let ended = async { while stream.read(&mut heard).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(within, ended).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http2_is_ended_at_both_doors_and_the_member_goes_on() {
    let mut cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let frame = |kind: u8, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        // Flags: the end of the headers, in a frame of them.
        [&length[1..], &[kind, if kind == 1 { 4 } else { 0 }, 0, 0, 0, 1], payload].concat()
    };
    let garbage: Vec<u8> = (0..60_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let table: [(&str, Vec<u8>); 7] = [
        ("bytes without a meaning", garbage.clone()),
        ("HTTP/1.1", b"GET /v3/kv/range HTTP/1.1\r\nHost: store\r\n\r\n".to_vec()),
        ("a TLS client", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &garbage[..500]].concat()),
        ("a preface and bytes without a meaning", [PREFACE, &garbage].concat()),
        ("a frame longer than allowed", [PREFACE, SETTINGS, &frame(0, &vec![0; 70_000])].concat()),
        ("headers that cannot be decompressed", [PREFACE, SETTINGS, &frame(1, &[0xff; 200])].concat()),
        ("data for a stream that was never opened", [PREFACE, SETTINGS, &frame(0, b"data")].concat()),
    ];
    for (name, bytes) in &table {
        for address in [client_address(&cluster.members[0]), cluster.members[0].peer_address()] {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            // It may have hung up before all of it was sent.
            let _ = stream.write_all(bytes).await;
            assert!(is_ended(&mut stream, PATIENCE).await, "{name} at {address} goes on");
        }
        kv.put(put("k", *name)).await.unwrap_or_else(|error| panic!("after {name}: {error}"));
    }
    // Who says nothing, or stops in the middle.
    let mut silent = TcpStream::connect(client_address(&cluster.members[0])).await.expect("connected");
    let mut slow = TcpStream::connect(cluster.members[0].peer_address()).await.expect("connected");
    slow.write_all(&PREFACE[..10]).await.expect("half a preface");
    assert_eq!(tokio::join!(is_ended(&mut silent, PATIENCE), is_ended(&mut slow, PATIENCE)), (true, true));
    assert!(cluster.members[0].stop(), "it ends in order");
}

/// A call by hand: the path, and the bytes of the body, piece by piece.
async fn call(member: &Member, path: &str, pieces: &[&[u8]]) -> (u16, Option<String>) {
    let stream = TcpStream::connect(client_address(member)).await.expect("connected");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://store{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let (response, mut sender) = client.send_request(request, false).expect("sent");
    for piece in pieces {
        // A server that has heard enough may reset the stream.
        let _ = sender.send_data(piece.to_vec().into(), false);
    }
    let _ = sender.send_data(bytes::Bytes::new(), true);
    let response = response.await.expect("answered");
    let status = response.status().as_u16();
    let in_head = response.headers().get("grpc-status").cloned();
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let _ = data;
    }
    let trailers = body.trailers().await.ok().flatten();
    driver.abort();
    let code = in_head.or_else(|| trailers?.get("grpc-status").cloned());
    (status, code.and_then(|code| code.to_str().map(str::to_owned).ok()))
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_get_an_error_and_oversized_ones_etcds() {
    let cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let put_path = "/etcdserverpb.KV/Put";
    let code = |code: Code| Some((code as i32).to_string());
    let message = |bytes: &[u8]| [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let table: [(&str, &str, Vec<u8>, Option<String>); 6] = [
        ("no protobuf", put_path, message(&[0xff; 40]), code(Code::Internal)),
        ("a field longer than the message", put_path, message(&[0x0a, 0x7f, b'k']), code(Code::Internal)),
        ("a message of 4 GiB announced", put_path, vec![0, 0xff, 0xff, 0xff, 0xff, 1], code(Code::OutOfRange)),
        ("compression that was not agreed on", put_path, vec![1, 0, 0, 0, 1, 0], code(Code::Internal)),
        ("an unknown method", "/etcdserverpb.KV/Steal", message(b""), code(Code::Unimplemented)),
        ("an unknown service", "/no.Service/Call", message(b""), code(Code::Unimplemented)),
    ];
    for (name, path, body, expected) in table {
        assert_eq!(call(&cluster.members[0], path, &[&body]).await, (200, expected), "{name}");
        kv.put(put("k", "v")).await.unwrap_or_else(|error| panic!("after {name}: {error}"));
    }
    let too_large = kv.put(put("large", vec![b'v'; 1_600_000])).await.expect_err("1.5 MiB is the limit");
    assert_eq!((too_large.code(), too_large.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let much_too_large = kv.put(put("large", vec![b'v'; 8 << 20])).await.expect_err("and this is not even read");
    assert_eq!(much_too_large.code(), Code::OutOfRange, "{much_too_large}");
    assert!(kv.range(get("large")).await.expect("read").into_inner().kvs.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_the_same_in_one_piece_and_in_many() {
    let cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let ok = || (200, Some((Code::Ok as i32).to_string()));
    let request = |key: &str| {
        let request = put(key, "value").encode_to_vec();
        [&[0][..], &(request.len() as u32).to_be_bytes(), &request].concat()
    };
    let cuts: [(&str, &[usize]); 5] =
        [("whole", &[]), ("prefix", &[5]), ("in-prefix", &[2]), ("empty-first", &[0]), ("three", &[1, 9])];
    for (key, cuts) in cuts {
        let request = request(key);
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.iter().copied().chain([request.len()]) {
            pieces.push(&request[from..cut]);
            from = cut;
        }
        assert_eq!(call(&cluster.members[0], "/etcdserverpb.KV/Put", &pieces).await, ok(), "{key}");
        let found = kv.range(get(key)).await.expect("read").into_inner().kvs;
        assert_eq!(found.first().map(|pair| &pair.value[..]), Some(&b"value"[..]), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_is_turned_away_and_costs_the_store_no_file() {
    let mut cluster = Cluster::new(1);
    let member = &mut cluster.members[0];
    // So few files that the flood would take them all.
    member.wrapper = ["sh", "-c", "ulimit -n 240 && exec \"$0\" \"$@\""].map(str::to_owned).to_vec();
    member.start();
    let mut kv = member.kv().await;
    let mut flood = Vec::new();
    let mut turned_away = 0;
    for _ in 0..400 {
        let mut stream = TcpStream::connect(client_address(member)).await.expect("the kernel takes it");
        let said = stream.write_all(&[PREFACE, SETTINGS].concat()).await;
        // Who has a place is answered: by settings.
        let mut heard = [0; 9];
        match (said, stream.read_exact(&mut heard).await) {
            (Ok(()), Ok(_)) => flood.push(stream),
            _ => turned_away += 1,
        }
    }
    assert!((50..=120).contains(&flood.len()), "half of the files: {}", flood.len());
    assert_eq!(flood.len() + turned_away, 400);
    // Several files of the log, and those of the state.
    for number in 0..30 {
        kv.put(put(&format!("k{number}"), vec![b'v'; 1_000_000])).await.expect("it takes what its clients bring");
    }
    drop(flood);
    crate::harness_wait(|| async {
        let channel = tonic::transport::Endpoint::from_shared(member.client_url()).expect("a URL").connect().await;
        match channel {
            Ok(channel) => KvClient::new(channel)
                .range(get("k1"))
                .await
                .is_ok_and(|found| found.into_inner().kvs.first().is_some_and(|pair| pair.value.len() == 1_000_000)),
            Err(_) => false,
        }
    })
    .await;
    let log = std::fs::read_to_string(member.data_dir.with_extension("log")).expect("its log");
    assert!(log.contains("turned away: there are too many connections"), "{log}");
    assert!(member.stop(), "it ends in order");
}
