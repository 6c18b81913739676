//! The pods that are named: each as it is, explained, asked about on its node, and verified without a probe.

use super::{Gatherer, meta, place};
use crate::args::pod::{Debug, STATE_DIR};
use crate::cli::afar::{Afar, Reached};
use crate::cli::explain::Under;
use crate::cli::pods::Asked;
use crate::cli::report::redact;
use crate::cli::report::section::Section;
use crate::cli::{plan, rules, told, verify};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The most pods that are looked into.
const MOST_PODS: usize = 100;

impl Gatherer<'_> {
    /// Reads the pods that are asked about, each once: as many as are looked into.
    pub(super) async fn choose_pods(&mut self) {
        let scope = &self.args.scope;
        let (mut found, mut over, mut known) = (Vec::new(), 0_usize, BTreeSet::new());
        let mut look = |pod: &Value| {
            if !known.insert(meta(pod, "uid").to_owned()) {
                return;
            }
            if found.len() == MOST_PODS {
                over += 1;
                return;
            }
            let mut pod = pod.clone();
            // Items of a list do not say what they are.
            pod["kind"] = json!("Pod");
            found.push(pod);
        };
        for subject in &self.args.subjects {
            let read = Asked { subject: Some(subject), scope }.pods(self.connection).await;
            match read {
                Ok(pods) => pods.iter().for_each(&mut look),
                Err(error) => self.told.note(error.say(self.style.lang)),
            }
        }
        // Of a cluster there may be more than are to be held.
        if self.args.subjects.is_empty() && (scope.all_namespaces || scope.namespace.is_some()) {
            let read = plan::pods(self.connection, scope, &mut look).await;
            read.unwrap_or_else(|error| self.told.note(error.say(self.style.lang)));
        }
        self.pods = found;
        if over > 0 {
            let words = self.style.say("pods more; name those that matter", "个 Pod;请指定重要的 Pod");
            self.told.passed.push(format!("{over} {words}"));
        }
    }

    /// Looks into each.
    pub(super) async fn look_into_pods(&mut self) {
        let pods = self.pods.clone();
        let spec = self.told.mesh.as_ref().and_then(|mesh| serde_json::to_value(&mesh.spec).ok());
        let under = match Under::of(&spec.unwrap_or_default()) {
            Ok(under) => Some(under),
            Err(error) => {
                self.told.note(format!("explain: {}", told(&error, self.style.lang)));
                None
            }
        };
        for (index, pod) in pods.iter().enumerate() {
            self.show(Section::Pods, &format!("{}/{} {}", index + 1, pods.len(), place(pod)));
            let folder = format!("pods/{}", place(pod));
            self.bundle.object(&format!("{folder}/pod.yaml"), &redact::pod(pod));
            if let Some(under) = &under {
                self.explain(under, pod, &folder);
            }
            self.ask_node(pod, &folder).await;
        }
    }

    fn explain(&mut self, under: &Under, pod: &Value, folder: &str) {
        let mut text = Vec::new();
        match under.tell(pod, self.style.lang, &mut text) {
            Ok(()) => self.bundle.text(&format!("{folder}/explain.txt"), &String::from_utf8_lossy(&text)),
            Err(error) => {
                self.told.note(format!("explain {}: {}", place(pod), told(&error, self.style.lang)))
            }
        }
    }

    /// What the pod's node knows of it, and what is in its network namespace.
    async fn ask_node(&mut self, pod: &Value, folder: &str) {
        let debug = Debug::default();
        let afar = Afar {
            connection: self.connection,
            debug: &debug,
            state_dir: Some(Path::new(STATE_DIR)),
            lang: self.style.lang,
        };
        let words = ["why", "--uid", meta(pod, "uid"), "--rules"].map(str::to_owned);
        match afar.ask_agent(pod, &words).await {
            Ok((way, ran)) if ran.status < 2 => {
                self.bundle.text(&format!("{folder}/why.txt"), &format!("{way}\n{}", ran.out));
            }
            Ok((way, ran)) => {
                let why = ran.err.trim().trim_start_matches("millrace: ");
                self.told.note(format!("why {}: {way}: {why}", place(pod)));
            }
            Err(why) => self.told.note(format!("why {}: {why}", place(pod))),
        }
        let mut text = Vec::new();
        let seen = verify::tell(&afar, pod, &mut text).await;
        self.bundle.text(&format!("{folder}/verify.txt"), &String::from_utf8_lossy(&text));
        match seen {
            Ok(None) => {}
            Ok(Some(true)) => self.live_rules(&afar, pod, folder).await,
            Ok(Some(false)) => {
                let words = self.style.say("could not be looked into", "未能查看");
                self.told.note(format!("verify {}: {words}: {folder}/verify.txt", place(pod)));
            }
            Err(error) => self.told.note(format!("verify {}: {error:#}", place(pod))),
        }
    }

    async fn live_rules(&mut self, afar: &Afar<'_>, pod: &Value, folder: &str) {
        let mut text = Vec::new();
        let told = match afar.reach(pod, &rules::told()).await {
            Ok(Reached::Here { opened, .. }) => {
                rules::tell(&opened, &mut text).map_err(|error| format!("{error:#}"))
            }
            Ok(Reached::There { ran, .. }) if ran.status < 2 => {
                text = [ran.out, ran.err].concat().into_bytes();
                Ok(())
            }
            Ok(Reached::There { ran, .. }) => Err(ran.err.trim().trim_start_matches("millrace: ").to_owned()),
            Err(missed) => Err(missed.ways.join("; ")),
        };
        match told {
            Ok(()) => self.bundle.text(&format!("{folder}/rules.txt"), &String::from_utf8_lossy(&text)),
            Err(why) => self.told.note(format!("rules {}: {why}", place(pod))),
        }
    }
}
