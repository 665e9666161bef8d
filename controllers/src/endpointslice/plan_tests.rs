use k8s_openapi::api::core::v1::{
    Container, ContainerPort, PodCondition, PodIP, PodSpec, PodStatus, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::*;

fn service() -> Service {
    let mut service = Service::default();
    service.metadata.name = Some("web".into());
    service.metadata.namespace = Some("default".into());
    service.metadata.uid = Some("web-uid".into());
    service.spec = Some(ServiceSpec {
        selector: Some(BTreeMap::from([("app".to_owned(), "web".to_owned())])),
        cluster_ip: Some("10.96.0.10".into()),
        ip_families: Some(vec!["IPv4".into()]),
        ports: Some(vec![ServicePort {
            port: 80,
            target_port: Some(IntOrString::String("http".into())),
            protocol: Some("TCP".into()),
            ..Default::default()
        }]),
        ..Default::default()
    });
    service
}

fn pod(name: &str, port: i32, ready: bool) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.into());
    pod.metadata.namespace = Some("default".into());
    pod.metadata.uid = Some(name.into());
    pod.spec = Some(PodSpec {
        node_name: Some("n1".into()),
        containers: vec![Container {
            ports: Some(vec![ContainerPort { name: Some("http".into()), container_port: port, ..Default::default() }]),
            ..Default::default()
        }],
        ..Default::default()
    });
    pod.status = Some(PodStatus {
        phase: Some("Running".into()),
        pod_ips: Some(vec![PodIP { ip: format!("10.244.0.{}", name.len()) }]),
        conditions: Some(vec![PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..Default::default()
        }]),
        ..Default::default()
    });
    Arc::new(pod)
}

fn zone(_: &str) -> Option<String> {
    Some("a".into())
}

/// The slices after a plan was carried out.
fn carry_out(plan: Plan, before: &[Arc<EndpointSlice>]) -> Vec<Arc<EndpointSlice>> {
    let changed = |slice: &Arc<EndpointSlice>| {
        plan.update.iter().find(|one| one.metadata.name == slice.metadata.name).cloned().map_or(slice.clone(), Arc::new)
    };
    let deleted = |slice: &&Arc<EndpointSlice>| !plan.delete.iter().any(|one| one.metadata.name == slice.metadata.name);
    let mut after: Vec<_> = before.iter().filter(deleted).map(changed).collect();
    for (index, mut slice) in plan.create.into_iter().enumerate() {
        slice.metadata.name = Some(format!("web-{}-{index}", after.len()));
        after.push(Arc::new(slice));
    }
    after
}

fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
    slices.iter().map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len)).collect()
}

#[test]
fn a_pod_becomes_an_endpoint() {
    let plan = plan(&service(), &[pod("one", 8080, true)], &[], zone, 100);
    let [slice] = plan.create.as_slice() else { panic!("not one slice: {plan:?}") };
    assert_eq!(slice.metadata.generate_name.as_deref(), Some("web-"));
    assert_eq!(service_of(slice), Some("web"));
    assert!(is_ours(slice));
    let port = &slice.ports.as_ref().expect("ports")[0];
    assert_eq!((port.name.as_deref(), port.port, port.protocol.as_deref()), (Some(""), Some(8080), Some("TCP")));
    let endpoint = &slice.endpoints.as_ref().expect("endpoints")[0];
    assert_eq!(endpoint.addresses, ["10.244.0.3"]);
    assert_eq!(endpoint.node_name.as_deref(), Some("n1"));
    assert_eq!(endpoint.zone.as_deref(), Some("a"));
    let conditions = endpoint.conditions.as_ref().expect("conditions");
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (Some(true), Some(true), Some(false)));
}

#[test]
fn conditions_of_pods() {
    let mut leaving = pod("leaving", 80, true).as_ref().clone();
    leaving.metadata.deletion_timestamp = Some(meta::time(jiff::Timestamp::UNIX_EPOCH));
    let mut publishing = service();
    publishing.spec.as_mut().expect("a spec").publish_not_ready_addresses = Some(true);
    // service, pod -> ready, serving, terminating
    let cases = [
        (service(), pod("unready", 80, false), (false, false, false)),
        (service(), Arc::new(leaving.clone()), (false, true, true)),
        (publishing.clone(), pod("unready", 80, false), (true, false, false)),
        (publishing, Arc::new(leaving), (true, true, true)),
    ];
    for (service, pod, expected) in cases {
        let plan = plan(&service, &[pod], &[], zone, 100);
        let conditions =
            plan.create[0].endpoints.as_ref().expect("endpoints")[0].conditions.clone().expect("conditions");
        let told = (conditions.ready, conditions.serving, conditions.terminating);
        assert_eq!(told, (Some(expected.0), Some(expected.1), Some(expected.2)));
    }
}

#[test]
fn slices_fill_and_empty_with_few_writes() {
    let names: Vec<String> = (1..=7).map(|length| "p".repeat(length)).collect();
    let pods: Vec<_> = names.iter().map(|name| pod(name, 80, true)).collect();
    let slices = carry_out(plan(&service(), &pods, &[], zone, 3), &[]);
    assert_eq!(sizes(&slices), [3, 3, 1]);
    // Nothing changed: nothing is written.
    assert_eq!(plan(&service(), &pods, &slices, zone, 3), Plan::default());
    // One more: the slice with room takes it.
    let more = [pods.clone(), vec![pod("new-pod-8", 80, true)]].concat();
    let next = plan(&service(), &more, &slices, zone, 3);
    assert_eq!((next.create.len(), next.update.len(), next.delete.len()), (0, 1, 0));
    // One becomes unready: one slice is written.
    let mut changed = pods.clone();
    changed[0] = pod("p", 80, false);
    let next = plan(&service(), &changed, &slices, zone, 3);
    assert_eq!((next.create.len(), next.update.len(), next.delete.len()), (0, 1, 0));
    // All go: one empty slice stays, which says that there is nothing.
    let slices = carry_out(plan(&service(), &[], &slices, zone, 3), &slices);
    assert_eq!(sizes(&slices), [0]);
    assert_eq!(plan(&service(), &[], &slices, zone, 3), Plan::default());
    let slices = carry_out(plan(&service(), &pods[..1], &slices, zone, 3), &slices);
    assert_eq!(sizes(&slices), [1]);
}

#[test]
fn pods_with_other_ports_have_their_own_slice() {
    let plan = plan(&service(), &[pod("old", 80, true), pod("newer", 8080, true)], &[], zone, 100);
    assert_eq!(plan.create.len(), 2);
}

#[test]
fn what_is_no_endpoint_is_left_out() {
    let mut addressless = pod("addressless", 80, true).as_ref().clone();
    addressless.status.as_mut().expect("a status").pod_ips = None;
    let mut ended = pod("ended", 80, false).as_ref().clone();
    ended.status.as_mut().expect("a status").phase = Some("Failed".into());
    let plan = plan(&service(), &[Arc::new(addressless), Arc::new(ended)], &[], zone, 100);
    assert_eq!(plan.create[0].endpoints, Some(vec![]));
}

#[test]
fn headless_services_are_labelled_and_hostnames_kept() {
    let mut headless = service();
    headless.spec.as_mut().expect("a spec").cluster_ip = Some("None".into());
    let mut named = pod("db-0", 80, true).as_ref().clone();
    let spec = named.spec.as_mut().expect("a spec");
    spec.hostname = Some("db-0".into());
    spec.subdomain = Some("web".into());
    let plan = plan(&headless, &[Arc::new(named)], &[], zone, 100);
    let slice = &plan.create[0];
    assert_eq!(label(slice, HEADLESS), Some(""));
    assert_eq!(slice.endpoints.as_ref().expect("endpoints")[0].hostname.as_deref(), Some("db-0"));
}

#[test]
fn services_that_name_no_pods_are_not_ours() {
    let mut external = service();
    external.spec.as_mut().expect("a spec").type_ = Some("ExternalName".into());
    let mut without = service();
    without.spec.as_mut().expect("a spec").selector = None;
    assert!(is_served(&service()) && !is_served(&external) && !is_served(&without));
}
