//! A model of a small cluster, around the state machine that ships: everything that may go wrong does, in any order.
//!
//! Two promises. Nothing reachable is bad: no pod of the mesh runs without rules, none is converted before every Ready node
//! serves, or after it was said that pods redirect themselves, and no node is cleared while a converted pod may need it. And from wherever a cluster is, once the world is quiet,
//! it gets to what is wanted.
//!
//! What of time is assumed, and nothing else: `settled` comes only after webhooks have heard that pods are no longer converted,
//! or have lost the right to convert, and after what they admitted before is stored. See `Leader::settled`.

use super::{Agents, Input, Wanted, decide};
use crate::api::platform::Platform;
use crate::api::status::State;
use crate::controller::targets::{Group, Target};
use proptest::prelude::*;
use std::collections::{HashSet, VecDeque};

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    wanted: Wanted,
    paused: bool,
    /// As it is written in the status.
    state: State,
    /// Whether the DaemonSet is there.
    set: bool,
    /// What the controller has decided and not done yet; lost with it.
    hand: Option<Agents>,
    settled: bool,
    /// How many pods depend on agents, as the watch has it.
    counted: u32,
    webhook_up: bool,
    /// Whether the webhook converts, as it believes.
    converts: bool,
    /// Whether the injector leaves pods with istio-validation.
    validates: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    ready: bool,
    agent: bool,
    plugin: bool,
    /// What its last report says.
    reported: bool,
    job: Job,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Job {
    #[default]
    None,
    Running,
    Done,
}

/// How a pod of the mesh is protected: by its own istio-init; by the chain, with a stamp; by the chain, as an agent decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Own,
    Stamped,
    Validated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pod {
    None,
    /// Admitted, and not stored yet.
    Admitted(Kind),
    /// Stored and bound, its sandbox not made yet.
    Bound(Kind, usize),
    /// It runs; whether rules are there.
    Runs(Kind, usize, bool),
    /// Its validation says that no rules are there: it does not start.
    Stuck(Kind, usize),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Want(Wanted),
    Pause,
    Look,
    Act,
    /// The controller crashes, or another one takes over.
    Crash,
    Settle,
    Catch,
    WebhookGoes,
    WebhookComes,
    WebhookHears,
    /// The webhook has heard nothing for so long that it stops converting.
    WebhookDoubts,
    SetIsDeleted,
    NodeDies(usize),
    NodeReturns(usize),
    AgentCrashes(usize),
    AgentRuns(usize),
    Reports(usize),
    Clears(usize),
    Create(usize),
    Store(usize, usize),
    Start(usize),
    Delete(usize),
}

impl World {
    fn new(nodes: usize, pods: usize, validates: bool) -> World {
        World {
            nodes: vec![Node { ready: true, ..Node::default() }; nodes],
            pods: vec![Pod::None; pods],
            wanted: Wanted::Cni,
            paused: false,
            state: State::Absent,
            set: false,
            hand: None,
            settled: false,
            counted: 0,
            webhook_up: true,
            converts: false,
            validates,
        }
    }

    /// What may happen now.
    fn events(&self) -> Vec<Event> {
        let mut all =
            vec![Event::Crash, Event::Catch, Event::WebhookHears, Event::WebhookDoubts, Event::Pause];
        all.extend(
            [Wanted::Cni, Wanted::InitContainer, Wanted::Disabled, Wanted::Uninstall].map(Event::Want),
        );
        all.push(if self.hand.is_some() { Event::Act } else { Event::Look });
        all.push(if self.webhook_up { Event::WebhookGoes } else { Event::WebhookComes });
        let on_its_way = self.pods.contains(&Pod::Admitted(Kind::Stamped));
        if self.state == State::Draining && !self.converts && !on_its_way {
            all.push(Event::Settle);
        }
        if self.set {
            all.push(Event::SetIsDeleted);
        }
        for (at, node) in self.nodes.iter().enumerate() {
            all.extend([Event::Reports(at)]);
            all.push(if node.ready { Event::NodeDies(at) } else { Event::NodeReturns(at) });
            if node.agent {
                all.push(Event::AgentCrashes(at));
            } else if node.ready && self.set {
                all.push(Event::AgentRuns(at));
            }
            if node.ready && node.job == Job::Running {
                all.push(Event::Clears(at));
            }
        }
        for (at, pod) in self.pods.iter().enumerate() {
            match pod {
                Pod::None => all.push(Event::Create(at)),
                Pod::Admitted(_) => all.extend((0..self.nodes.len()).map(|node| Event::Store(at, node))),
                Pod::Bound(_, node) if self.nodes[*node].ready => all.push(Event::Start(at)),
                Pod::Bound(..) => {}
                Pod::Runs(..) | Pod::Stuck(..) => all.push(Event::Delete(at)),
            }
        }
        all
    }

    /// What happens; what is wrong with it, if anything is.
    fn happens(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Want(wanted) => self.wanted = wanted,
            Event::Pause => self.paused = !self.paused,
            Event::Look => return self.look(),
            Event::Act => self.act(),
            Event::Crash => (self.hand, self.settled) = (None, false),
            Event::Settle => (self.settled, self.counted) = (true, self.dependent()),
            Event::Catch => self.counted = self.dependent(),
            Event::WebhookGoes => self.webhook_up = false,
            Event::WebhookComes => (self.webhook_up, self.converts) = (true, false),
            Event::WebhookHears => self.converts = self.webhook_up && self.state == State::Serving,
            Event::WebhookDoubts => self.converts = false,
            Event::SetIsDeleted => self.set = false,
            Event::NodeDies(at) => self.node_dies(at),
            Event::NodeReturns(at) => self.nodes[at].ready = true,
            Event::AgentCrashes(at) => self.nodes[at].agent = false,
            Event::AgentRuns(at) => (self.nodes[at].agent, self.nodes[at].plugin) = (true, true),
            Event::Reports(at) => self.nodes[at].reported = self.nodes[at].agent && self.nodes[at].plugin,
            Event::Clears(at) => return self.clears(at),
            Event::Create(at) => self.pods[at] = Pod::Admitted(self.admits()),
            Event::Store(at, node) => {
                if let Pod::Admitted(kind) = self.pods[at] {
                    self.pods[at] = Pod::Bound(kind, node);
                }
            }
            Event::Start(at) => self.starts(at),
            Event::Delete(at) => self.pods[at] = Pod::None,
        }
        let naked = self.pods.iter().find(|pod| matches!(pod, Pod::Runs(_, _, false)));
        naked.map_or(Ok(()), |pod| Err(format!("{pod:?} runs without rules")))
    }

    fn look(&mut self) -> Result<(), String> {
        let before = self.state;
        let targets = self.targets();
        let unclear: Vec<String> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].job != Job::Done)
            .map(|at| at.to_string())
            .collect();
        let step = decide(
            before,
            &Input {
                wanted: self.wanted,
                paused: self.paused,
                targets: &targets,
                dependent: self.counted,
                settled: self.settled,
                heard: !self.converts,
                agents_left: self.set || self.nodes.iter().any(|node| node.agent && node.ready),
                unclear: &unclear,
                clearing: self.nodes.iter().any(|node| node.job != Job::None),
            },
        );
        (self.state, self.hand) = (step.state, Some(step.agents));
        if before != State::Draining || step.state != State::Draining {
            self.settled = false;
        }
        let rests = (before, step.state) == (State::Draining, State::Draining) && step.waits.is_empty();
        if rests && self.converts {
            return Err("it is said that pods redirect themselves, and a webhook converts them".to_owned());
        }
        let early = step.state == State::Serving
            && before != State::Serving
            && self.nodes.iter().any(|node| node.ready && !(node.reported && node.plugin));
        if early { Err("pods are converted before every Ready node serves".to_owned()) } else { Ok(()) }
    }

    fn act(&mut self) {
        match self.hand.take() {
            Some(Agents::Apply) => self.set = true,
            Some(Agents::Spare) => self.spare(),
            Some(Agents::Remove) if self.set => self.set = false,
            Some(Agents::Remove) if self.nodes.iter().any(|node| node.agent && node.ready) => {}
            Some(Agents::Remove) => {
                for node in self.nodes.iter_mut().filter(|node| node.job == Job::None) {
                    node.job = Job::Running;
                }
            }
            Some(Agents::None) => {
                self.spare();
                self.set = false;
            }
            None => {}
        }
    }

    /// What is reported of nodes that were being cleared goes with the Jobs.
    fn spare(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.job != Job::None) {
            (node.job, node.reported) = (Job::None, false);
        }
    }

    fn targets(&self) -> Vec<Target> {
        let group = Group { platform: Platform::Kubeadm, canary: false };
        let target = |(at, node): (usize, &Node)| Target {
            name: at.to_string(),
            group,
            ready: node.ready,
            serving: node.reported,
            updated: node.reported,
            trouble: None,
        };
        self.nodes.iter().enumerate().map(target).collect()
    }

    fn dependent(&self) -> u32 {
        let depends = |pod: &&Pod| {
            let (Pod::Bound(kind, _) | Pod::Runs(kind, ..) | Pod::Stuck(kind, _)) = pod else { return false };
            *kind != Kind::Own
        };
        u32::try_from(self.pods.iter().filter(depends).count()).expect("pods are few")
    }

    /// What injector and webhook make of a pod of the mesh.
    fn admits(&self) -> Kind {
        match (self.webhook_up && self.converts, self.validates) {
            (true, _) => Kind::Stamped,
            (false, true) => Kind::Validated,
            (false, false) => Kind::Own,
        }
    }

    /// The runtime makes a sandbox, the plugin is called if it is there, and the pod's own containers follow.
    fn starts(&mut self, at: usize) {
        let Pod::Bound(kind, node) = self.pods[at] else { return };
        let Node { agent, plugin, .. } = self.nodes[node];
        let by_chain = match kind {
            // The plugin leaves a pod alone that has an istio-init.
            Kind::Own => false,
            Kind::Stamped => plugin,
            // Without an agent to ask, the sandbox is not made, and tried again.
            Kind::Validated if plugin && !agent => return,
            Kind::Validated => plugin,
        };
        self.pods[at] = match (kind, by_chain) {
            (Kind::Own, _) => Pod::Runs(kind, node, true),
            (_, true) => Pod::Runs(kind, node, true),
            (_, false) => Pod::Stuck(kind, node),
        };
    }

    /// A node that returns makes new sandboxes for its pods.
    fn node_dies(&mut self, at: usize) {
        (self.nodes[at].ready, self.nodes[at].agent) = (false, false);
        for pod in &mut self.pods {
            if let Pod::Runs(kind, node, _) | Pod::Stuck(kind, node) = *pod
                && node == at
            {
                *pod = Pod::Bound(kind, node);
            }
        }
    }

    fn clears(&mut self, at: usize) -> Result<(), String> {
        (self.nodes[at].plugin, self.nodes[at].job) = (false, Job::Done);
        let needs = |pod: &&Pod| match pod {
            Pod::Admitted(kind) => *kind == Kind::Stamped,
            Pod::Bound(kind, node) | Pod::Runs(kind, node, _) => *kind == Kind::Stamped && *node == at,
            Pod::None | Pod::Stuck(..) => false,
        };
        let pod = self.pods.iter().find(needs);
        pod.map_or(Ok(()), |pod| Err(format!("node {at} is cleared, and {pod:?} needs it")))
    }

    /// Lets the world be quiet for some time: everything works, nobody changes anything, and people restart pods as they are
    /// asked to (and set the injector right, as the finding says).
    fn calms_down(mut self) -> Result<(), String> {
        let start = self.clone();
        (self.paused, self.webhook_up) = (false, true);
        self.validates &= self.wanted == Wanted::Cni;
        for _ in 0..40 {
            for at in 0..self.nodes.len() {
                self.nodes[at].ready = true;
                self.nodes[at].agent = self.set;
                self.nodes[at].plugin |= self.set;
                self.happens(Event::Reports(at))?;
                if self.nodes[at].job == Job::Running {
                    self.happens(Event::Clears(at))?;
                }
            }
            self.happens(Event::WebhookHears)?;
            for at in 0..self.pods.len() {
                self.goes_on(at)?;
            }
            self.happens(Event::Catch)?;
            if self.events().iter().any(|event| matches!(event, Event::Settle)) {
                self.happens(Event::Settle)?;
            }
            self.happens(Event::Look)?;
            self.happens(Event::Act)?;
        }
        let arrived = match self.wanted {
            Wanted::Cni => self.state == State::Serving && self.converts,
            Wanted::InitContainer => matches!(self.state, State::Installing | State::Draining),
            Wanted::Disabled | Wanted::Uninstall => {
                self.state == State::Absent && self.nodes.iter().all(|node| !node.agent && !node.plugin)
            }
        };
        let moves = |pod: &Pod| matches!(pod, Pod::Stuck(..) | Pod::Bound(..) | Pod::Admitted(_));
        if arrived && !self.pods.iter().any(moves) {
            return Ok(());
        }
        Err(format!("{start:#?}\ncomes to rest as\n{self:#?}"))
    }

    fn goes_on(&mut self, at: usize) -> Result<(), String> {
        match self.pods[at] {
            Pod::Admitted(_) => self.happens(Event::Store(at, 0)),
            Pod::Bound(..) => self.happens(Event::Start(at)),
            Pod::Stuck(..) => self.happens(Event::Delete(at)),
            Pod::Runs(kind, ..) if kind != Kind::Own && self.state == State::Draining => {
                self.happens(Event::Delete(at))?;
                self.happens(Event::Create(at))
            }
            Pod::None | Pod::Runs(..) => Ok(()),
        }
    }
}

/// Every world that can be reached from a new one, until there are `most`; each is looked at, and calmed down.
fn check(nodes: usize, pods: usize, validates: bool, most: usize) -> usize {
    let start = World::new(nodes, pods, validates);
    let mut known: HashSet<World> = [start.clone()].into();
    let mut open: VecDeque<World> = [start].into();
    while let Some(world) = open.pop_front() {
        for event in world.events() {
            let mut next = world.clone();
            if let Err(wrong) = next.happens(event) {
                panic!("{wrong}: {event:?} in\n{world:#?}");
            }
            if known.len() < most && known.insert(next.clone()) {
                open.push_back(next);
            }
        }
        if let Err(wrong) = world.calms_down() {
            panic!("it does not get to what is wanted:\n{wrong}");
        }
    }
    known.len()
}

/// All of a cluster of one node and one pod.
#[test]
fn model_of_one_node() {
    for validates in [false, true] {
        let most = 2_000_000;
        let found = check(1, 1, validates, most);
        assert!(found < most, "the model has no more than {most} worlds");
        assert!(found > 10_000, "{found} worlds: it does not go far");
    }
}

/// The beginning of all of two nodes and two pods.
#[test]
fn model_of_two_nodes() {
    check(2, 2, false, 15_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Long walks through a cluster of two nodes and three pods.
    #[test]
    fn model_walks(choices in prop::collection::vec(any::<prop::sample::Index>(), 1..250), validates: bool) {
        let mut world = World::new(2, 3, validates);
        for choice in choices {
            let events = world.events();
            let event = events[choice.index(events.len())];
            let before = world.clone();
            let happened = world.happens(event);
            prop_assert!(happened.is_ok(), "{happened:?}: {event:?} in\n{before:#?}");
        }
        let calm = world.calms_down();
        prop_assert!(calm.is_ok(), "it does not get to what is wanted:\n{}", calm.unwrap_err());
    }
}
