use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::fixtures::{self, deployment, now, set, template};
use super::super::template as templates;
use super::*;

fn int(value: i32) -> IntOrString {
    IntOrString::Int(value)
}

fn progressing(status: &DeploymentStatus) -> (&str, &str) {
    let condition = status::condition(status, "Progressing").expect("a Progressing condition");
    (condition.status.as_str(), condition.reason.as_deref().unwrap_or_default())
}

/// A cluster of one Deployment, in which ReplicaSets do at once what they are told, and pods become available when
/// the test says so.
struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    clock: i64,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), clock: 0 }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(now().as_second() + self.clock).expect("a time within range")
    }

    /// Plans and executes once; says whether there was anything to do.
    fn step(&mut self) -> bool {
        self.clock += 1;
        let plan = plan(&self.deployment, &self.sets, &PodsBySet::new(), self.now());
        let busy = !plan.steps.is_empty() || plan.status.is_some();
        for step in plan.steps {
            self.execute(step);
        }
        if let Some(status) = plan.status {
            self.deployment.status = Some(status);
        }
        if let Some(revision) = plan.revision {
            let annotations = self.deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(annotations::REVISION.to_owned(), revision);
        }
        busy
    }

    fn execute(&mut self, step: Step) {
        let (replaced, mut set) = match step {
            Step::Create(set) => (None, set.as_ref().clone()),
            Step::Change { observed, decided } => (observed.metadata.uid.clone(), decided.as_ref().clone()),
            Step::Delete(set) => {
                self.sets.retain(|one| one.metadata.uid != set.metadata.uid);
                return;
            }
        };
        if replaced.is_none() {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(meta::time(self.now()));
        }
        let wanted = read::set_wanted(&set);
        let status = set.status.get_or_insert_default();
        status.replicas = wanted;
        status.available_replicas = Some(status.available_replicas.unwrap_or(0).min(wanted));
        status.ready_replicas = status.available_replicas;
        self.sets.retain(|one| one.metadata.uid != set.metadata.uid);
        self.sets.push(Arc::new(set));
    }

    fn become_available(&mut self) {
        for set in &mut self.sets {
            let set = Arc::make_mut(set);
            let wanted = read::set_wanted(set);
            let status = set.status.get_or_insert_default();
            status.available_replicas = Some(wanted);
            status.ready_replicas = Some(wanted);
        }
    }

    fn roll_out(&mut self, check: impl Fn(&World)) {
        for _ in 0..100 {
            while self.step() {
                check(self);
            }
            if status::is_complete(&self.deployment, self.deployment.status.as_ref().expect("a status")) {
                return;
            }
            self.become_available();
            check(self);
        }
        panic!("the rollout does not end: {:?}", self.deployment.status);
    }

    fn set_image(&mut self, image: &str) {
        self.deployment.spec.as_mut().expect("a spec").template = template(image);
        *self.deployment.metadata.generation.get_or_insert_default() += 1;
    }

    fn revision_of(&self, image: &str) -> i64 {
        let set = self.sets.iter().find(|set| {
            let of = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            of.is_some_and(|of| templates::same(of, &template(image)))
        });
        annotations::revision(set.expect("a ReplicaSet of the image"))
    }
}

#[test]
fn rollouts_keep_their_limits_and_end() {
    for replicas in [0, 1, 2, 3, 10, 25] {
        for (surge, unavailable) in [(1, 0), (0, 1), (3, 2), (25, 25), (100, 0)] {
            let mut world = World::new(deployment(replicas, int(surge), int(unavailable)));
            world.roll_out(|_| {});
            world.set_image("nginx:3");
            let (most, least) =
                (read::max_replicas(&world.deployment), replicas - read::max_unavailable(&world.deployment));
            world.roll_out(|world| {
                let existing = read::total(&world.sets, read::set_wanted);
                let available = read::total(&world.sets, read::set_available);
                assert!(existing <= most, "{existing} pods exist, {most} may");
                assert!(available >= least, "{available} pods are available, {least} must be");
            });
            let status = world.deployment.status.clone().expect("a status");
            assert_eq!(progressing(&status), ("True", "NewReplicaSetAvailable"));
            assert_eq!(world.revision_of("nginx:3"), 2);
        }
    }
}

#[test]
fn undo_brings_the_old_set_back_under_a_new_revision() {
    let mut world = World::new(deployment(3, int(1), int(0)));
    world.roll_out(|_| {});
    world.set_image("nginx:3");
    world.roll_out(|_| {});
    world.set_image("nginx:2");
    world.roll_out(|_| {});
    assert_eq!(world.sets.len(), 2);
    assert_eq!(world.revision_of("nginx:2"), 3);
    let noted = meta::annotation(&world.deployment.metadata, annotations::REVISION);
    assert_eq!(noted, Some("3"));
}

#[test]
fn history_is_cleaned_when_the_rollout_is_complete() {
    let mut first = deployment(2, int(1), int(0));
    first.spec.as_mut().expect("a spec").revision_history_limit = Some(1);
    let mut world = World::new(first);
    for image in ["nginx:2", "nginx:3", "nginx:4", "nginx:5"] {
        world.set_image(image);
        world.roll_out(|_| {});
    }
    for set in &mut world.sets {
        Arc::make_mut(set).status.get_or_insert_default().observed_generation = Some(1);
    }
    while world.step() {}
    let revisions: Vec<i64> = world.sets.iter().map(|set| annotations::revision(set)).collect();
    assert_eq!(world.sets.len(), 2, "{revisions:?}");
    assert!(revisions.contains(&3) && revisions.contains(&4), "{revisions:?}");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(2, int(1), int(0)));
    world.roll_out(|_| {});
    let spec = world.deployment.spec.as_mut().expect("a spec");
    spec.paused = Some(true);
    spec.template = template("nginx:3");
    spec.replicas = Some(5);
    while world.step() {}
    assert_eq!(world.sets.len(), 1);
    assert_eq!(read::set_wanted(&world.sets[0]), 5);
    let status = world.deployment.status.clone().expect("a status");
    assert_eq!(progressing(&status), ("Unknown", "DeploymentPaused"));
    world.deployment.spec.as_mut().expect("a spec").paused = Some(false);
    world.step();
    assert_eq!(world.sets.len(), 2);
}

#[test]
fn a_rollout_that_stands_still_misses_its_deadline() {
    let mut world = World::new(deployment(2, int(1), int(0)));
    world.roll_out(|_| {});
    world.set_image("broken");
    while world.step() {}
    let waiting = plan(&world.deployment, &world.sets, &PodsBySet::new(), world.now());
    let rest = waiting.look_again.expect("a time to look again");
    assert!(rest <= Duration::from_secs(601), "{rest:?}");
    world.clock += 602;
    world.step();
    let status = world.deployment.status.clone().expect("a status");
    assert_eq!(progressing(&status), ("False", "ProgressDeadlineExceeded"));
    assert_eq!(plan(&world.deployment, &world.sets, &PodsBySet::new(), world.now()).look_again, None);
    // What becomes available late is progress all the same.
    world.become_available();
    world.roll_out(|_| {});
    let status = world.deployment.status.clone().expect("a status");
    assert_eq!(progressing(&status), ("True", "NewReplicaSetAvailable"));
}

#[test]
fn the_first_plan_creates_and_tells() {
    let plan = plan(&deployment(3, int(1), int(0)), &[], &PodsBySet::new(), now());
    assert_eq!(plan.steps.len(), 1);
    let Step::Create(set) = &plan.steps[0] else {
        panic!("not a creation: {:?}", plan.steps);
    };
    assert_eq!(read::set_wanted(set), 3);
    assert_eq!(annotations::desired_replicas(set), Some(3));
    assert_eq!(annotations::max_replicas(set), Some(4));
    assert_eq!(plan.revision.as_deref(), Some("1"));
    let status = plan.status.expect("a status");
    assert_eq!(progressing(&status), ("True", "NewReplicaSetCreated"));
    assert_eq!(status.unavailable_replicas, Some(3));
    let message = event_message(&plan.steps[0]).expect("an event");
    let name = meta::name(&set.metadata);
    assert_eq!(message, format!("Scaled up replica set {name} from 0 to 3"));
}

#[test]
fn a_deployment_that_leaves_only_reports() {
    let mut leaving = deployment(3, int(1), int(0));
    leaving.metadata.deletion_timestamp = Some(meta::time(now()));
    let plan = plan(&leaving, &[], &PodsBySet::new(), now());
    assert!(plan.steps.is_empty());
    assert!(plan.status.is_some());
}

#[test]
fn an_empty_selector_is_refused() {
    let mut greedy = deployment(3, int(1), int(0));
    greedy.spec.as_mut().expect("a spec").selector = Default::default();
    let plan = plan(&greedy, &[], &PodsBySet::new(), now());
    assert!(plan.selects_everything && plan.steps.is_empty());
    assert_eq!(plan.status.and_then(|status| status.observed_generation), Some(1));
}

#[test]
fn failures_of_the_new_set_are_told() {
    let deployment = fixtures::deployment(3, int(1), int(0));
    let mut failing = set(&deployment, "nginx:2", 1, 10, 3, 0);
    Arc::make_mut(&mut failing).status.get_or_insert_default().conditions =
        Some(vec![k8s_openapi::api::apps::v1::ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some("FailedCreate".into()),
            message: Some("quota".into()),
            ..Default::default()
        }]);
    let plan = plan(&deployment, &[failing], &PodsBySet::new(), now());
    let status = plan.status.expect("a status");
    let failure = status::condition(&status, "ReplicaFailure").expect("the failure");
    assert_eq!(failure.reason.as_deref(), Some("FailedCreate"));
}
