//! The REST door end to end: what a client of Kubernetes relies on, over a real store.

use crate::harness::{ADMIN, Cluster, Events, NOBODY};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Method, path, headers, body; code and reason.
type Refusal<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"v": value}}, "data": {"k": value}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_and_dies_as_upstreams_would() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;

    let (code, created) = client.json(Method::POST, MAPS, map("a", "1")).await;
    assert_eq!(code, 201, "{created}");
    assert!(created["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    let version = created["metadata"]["resourceVersion"].clone();
    let (code, got) = client.json(Method::GET, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((code, &got), (200, &created));

    let (code, again) = client.json(Method::POST, MAPS, map("a", "1")).await;
    assert_eq!((code, again["reason"].as_str()), (409, Some("AlreadyExists")));

    let mut changed = created.clone();
    changed["data"]["k"] = "2".into();
    let (code, updated) = client.json(Method::PUT, &format!("{MAPS}/a"), changed.clone()).await;
    assert_eq!((code, updated["data"]["k"].as_str()), (200, Some("2")));
    changed["data"]["k"] = "3".into();
    let (code, stale) = client.json(Method::PUT, &format!("{MAPS}/a"), changed).await;
    assert_eq!((code, stale["reason"].as_str()), (409, Some("Conflict")), "version {version}");

    let (_, same) = client.json(Method::PATCH, &format!("{MAPS}/a"), json!({"data": {"k": "2"}})).await;
    assert_eq!(same["metadata"]["resourceVersion"], updated["metadata"]["resourceVersion"], "no change is no write");
    let (code, patched) =
        client.json(Method::PATCH, &format!("{MAPS}/a"), json!({"data": {"k": null, "l": "x"}})).await;
    assert_eq!((code, &patched["data"]), (200, &json!({"l": "x"})));

    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    client.json(Method::PATCH, &format!("{MAPS}/a"), held).await;
    let (code, deleting) = client.json(Method::DELETE, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(code, 200);
    assert!(deleting["metadata"]["deletionTimestamp"].is_string(), "{deleting}");
    let (code, _) = client.json(Method::PATCH, &format!("{MAPS}/a"), json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(code, 200);
    let (code, _) = client.json(Method::GET, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_at_their_revision_and_watches_go_on_from_it() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;
    for index in 0..10 {
        client.json(Method::POST, MAPS, map(&format!("m{index}"), "1")).await;
    }
    let (_, first) = client.json(Method::GET, &format!("{MAPS}?limit=4"), Value::Null).await;
    assert_eq!(
        (first["items"].as_array().map(Vec::len), &first["metadata"]["remainingItemCount"]),
        (Some(4), &json!(6))
    );
    let version = first["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();

    client.json(Method::DELETE, &format!("{MAPS}/m9"), Value::Null).await;
    client.json(Method::POST, MAPS, map("m95", "1")).await;
    client.json(Method::PATCH, &format!("{MAPS}/m0"), json!({"metadata": {"labels": {"v": "2"}}})).await;

    let mut names: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        assert_eq!(page["metadata"]["resourceVersion"], version.as_str());
        let items = page["items"].as_array().expect("items");
        names.extend(items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()));
        let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) else { break };
        page = client.json(Method::GET, &format!("{MAPS}?limit=4&continue={token}"), Value::Null).await.1;
    }
    let expected: Vec<String> = (0..10).map(|index| format!("m{index}")).collect();
    assert_eq!(names, expected);

    let mut watching = cluster.rest(ADMIN).await;
    let path = format!("{MAPS}?watch=1&resourceVersion={version}&labelSelector=v%3D1");
    let mut events = Events::new(watching.open(Method::GET, &path, &[], "").await.into_body());
    for (kind, name) in [("DELETED", "m9"), ("ADDED", "m95"), ("DELETED", "m0")] {
        let event = events.next().await.expect("an event");
        assert_eq!((event["type"].as_str(), event["object"]["metadata"]["name"].as_str()), (Some(kind), Some(name)));
    }

    let path =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut watching = cluster.rest(ADMIN).await;
    let mut events = Events::new(watching.open(Method::GET, &path, &[], "").await.into_body());
    for _ in 0..10 {
        assert_eq!(events.next().await.expect("an event")["type"], "ADDED");
    }
    let end = events.next().await.expect("an event");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{end}");

    let mut watching = cluster.rest(ADMIN).await;
    let path = format!("{MAPS}?watch=1&resourceVersion=1");
    let mut events = Events::new(watching.open(Method::GET, &path, &[], "").await.into_body());
    let first = events.next().await.expect("an event");
    // What the cache still has is served; what it never had is said to be gone.
    assert!(first["type"] == "ADDED" || first["object"]["code"] == 410, "{first}");
}

/// Typed clients compare what they made with what a list shows, and tables are watched too.
#[tokio::test(flavor = "multi_thread")]
async fn items_go_without_their_kind_and_a_tables_bookmark_has_a_row() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;
    let orders = [r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#, r#"{"metadata":{"name":"b"}}"#];
    for body in orders {
        let headers = [("content-type", "application/json")];
        assert_eq!(client.send(Method::POST, MAPS, &headers, body).await.0.as_u16(), 201);
    }
    for path in [MAPS.to_owned(), format!("{MAPS}?pretty=true")] {
        let (_, list) = client.json(Method::GET, &path, Value::Null).await;
        let items = list["items"].as_array().expect("items");
        assert_eq!((list["kind"].as_str(), items.len()), (Some("ConfigMapList"), 2));
        for item in items {
            assert_eq!(item.as_object().expect("an item").keys().collect::<Vec<_>>(), ["metadata"], "{path}");
        }
    }
    let (_, object) = client.json(Method::GET, &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((object["apiVersion"].as_str(), object["kind"].as_str()), (Some("v1"), Some("ConfigMap")));

    let mut watching = cluster.rest(ADMIN).await;
    let path =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut events = Events::new(watching.open(Method::GET, &path, &table, "").await.into_body());
    for _ in 0..2 {
        assert_eq!(events.next().await.expect("an event")["type"], "ADDED");
    }
    let end = events.next().await.expect("an event");
    let shown = &end["object"]["rows"][0]["object"];
    assert_eq!(shown["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{end}");
    assert_eq!(shown["kind"], "PartialObjectMetadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_see_every_change_once_and_in_order() {
    const WATCHERS: usize = 20;
    const WRITES: usize = 300;
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;
    let (_, list) = client.json(Method::GET, MAPS, Value::Null).await;
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut watching = cluster.rest(ADMIN).await;
        let path = format!("{MAPS}?watch=1&resourceVersion={version}");
        let mut events = Events::new(watching.open(Method::GET, &path, &[], "").await.into_body());
        watchers.push(tokio::spawn(async move {
            let _connection = watching;
            let mut last = 0;
            let mut seen = Vec::new();
            while seen.len() < WRITES {
                let event = events.next().await.expect("an event");
                let object = &event["object"];
                let revision: i64 =
                    object["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number");
                assert!(revision > last, "{revision} after {last}");
                last = revision;
                seen.push(object["metadata"]["name"].as_str().expect("a name").to_owned());
            }
            seen.sort();
            seen
        }));
    }
    let writers = (0..4).map(|writer| {
        let cluster = &cluster;
        async move {
            let mut client = cluster.rest(ADMIN).await;
            for index in (writer..WRITES).step_by(4) {
                let (code, answer) = client.json(Method::POST, MAPS, map(&format!("w{index:04}"), "1")).await;
                assert_eq!(code, 201, "{answer}");
            }
        }
    });
    futures::future::join_all(writers).await;
    let expected: Vec<String> = (0..WRITES).map(|index| format!("w{index:04}")).collect();
    for watcher in watchers {
        assert_eq!(watcher.await.expect("a watcher"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_carry_upstreams_reasons() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.rest(ADMIN).await;
    let mut nobody = cluster.rest(NOBODY).await;
    let mut stranger = cluster.rest("unknown-token").await;
    assert_eq!(stranger.json(Method::GET, MAPS, Value::Null).await.0, 401);
    assert_eq!(stranger.json(Method::GET, "/readyz", Value::Null).await.0, 200);
    let (code, status) = nobody.json(Method::GET, MAPS, Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "configmaps is forbidden: User \"nobody\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );

    let json_body = [("content-type", "application/json")];
    let deep = format!("{{\"data\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let large = format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(3_200_000));
    let table: [Refusal<'_>; 9] = [
        (Method::POST, MAPS, &json_body, &deep, 400, "BadRequest"),
        (Method::POST, MAPS, &json_body, &large, 413, "RequestEntityTooLarge"),
        (Method::POST, MAPS, &json_body, "{", 400, "BadRequest"),
        (Method::POST, MAPS, &[("content-type", "text/plain")], "x", 415, "UnsupportedMediaType"),
        (Method::POST, MAPS, &json_body, r#"{"metadata":{"name":"No_Name"}}"#, 422, "Invalid"),
        (Method::POST, MAPS, &json_body, r#"{"metadata":{"name":"x","namespace":"other"}}"#, 400, "BadRequest"),
        (Method::GET, MAPS, &[("accept", "text/html")], "", 406, "NotAcceptable"),
        (Method::PUT, MAPS, &json_body, "{}", 405, "MethodNotAllowed"),
        (Method::GET, "/api/v1/namespaces/default/configmaps/none", &[], "", 404, "NotFound"),
    ];
    for (method, path, headers, body, code, reason) in table {
        let (status, _, bytes) = admin.send(method.clone(), path, headers, body).await;
        let answer: Value = serde_json::from_slice(&bytes).expect("a Status");
        assert_eq!((status.as_u16(), answer["reason"].as_str()), (code, Some(reason)), "{method} {path}: {answer}");
    }
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let (code, status) = admin.json(Method::POST, &strict, json!({"metadata": {"name": "x"}, "dat": {}})).await;
    assert_eq!(code, 400);
    assert!(status["message"].as_str().is_some_and(|text| text.contains("unknown field \"dat\"")), "{status}");
    let dry = format!("{MAPS}?dryRun=All");
    assert_eq!(admin.json(Method::POST, &dry, map("dry", "1")).await.0, 201);
    assert_eq!(admin.json(Method::GET, &format!("{MAPS}/dry"), Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_cached_by_its_etag_and_views_are_negotiated() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest("").await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (status, headers, body) = client.send(Method::GET, "/apis", &[("accept", aggregated)], "").await;
    assert_eq!((status.as_u16(), headers["content-type"].to_str().ok()), (200, Some(aggregated)));
    let document: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    let etag = headers["etag"].to_str().expect("an ETag").to_owned();
    let (status, _, _) =
        client.send(Method::GET, "/apis", &[("accept", aggregated), ("if-none-match", &etag)], "").await;
    assert_eq!(status.as_u16(), 304);

    let (_, resources) = client.json(Method::GET, "/api/v1", Value::Null).await;
    let resources = resources["resources"].as_array().expect("resources");
    assert!(resources.iter().any(|resource| resource["name"] == "configmaps" && resource["shortNames"][0] == "cm"));

    client.json(Method::POST, MAPS, map("seen", "1")).await;
    let path = format!("{MAPS}/seen");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (_, _, body) = client.send(Method::GET, &path, &[("accept", table)], "").await;
    let table: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((table["kind"].as_str(), table["rows"][0]["cells"][0].as_str()), (Some("Table"), Some("seen")));
    let (_, _, body) = client.send(Method::GET, &path, &[("accept", "application/yaml")], "").await;
    assert!(String::from_utf8_lossy(&body).contains("name: seen"));
    let (_, _, body) = client.send(Method::GET, &path, &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    assert!(body.starts_with(b"k8s\0"));
    let (_, headers, _) = client.send(Method::GET, "/openapi/v2", &[], "").await;
    assert!(headers.contains_key("etag"));
}
