//! The admission of one pod: what is changed in it so that the node's plugin redirects it instead of its own privileged
//! container, and what its user is told. PURE.
//!
//! Whether a pod is redirected is core's to decide; this only carries the decision out. It changes the stamp, the one
//! container, and the injector's note of that container's name; every other byte of the pod stays as it is. Doing it twice
//! is doing it once. Whatever it does, a pod of the mesh keeps one that redirects it: its own `istio-init`, or the plugin with
//! a validation that fails where the plugin was not (M1).

use super::answer::{Answer, Code, Outcome, Remark};
use super::edit::Edit;
use super::init::{self, Told, VALIDATION};
use super::network;
use super::settings::{self, Resolved};
use super::wishes::{Excluded, Invalid, Mode, Wishes};
use crate::facts;
use millrace_core::complaint::Complaint;
use millrace_core::knobs;
use millrace_core::pod::{Pod, Role};
use millrace_core::policy::{INIT, Mesh, Reason, decide};
use millrace_core::settings::Settings;
use millrace_core::stamp::{self, STAMP_ANNOTATION, Stamp};
use millrace_core::status::{STATUS_ANNOTATION, lists_init_container};
use serde_json::Value;

/// By this the kubelet shows a static pod, which runs as its file says, whatever is changed in what it shows.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// One admission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// What is done.
    pub(crate) operation: Operation<'a>,
    /// The pod's namespace, which a pod that is being created may not state itself.
    pub(crate) namespace: &'a str,
    /// The pod as it would be.
    pub(crate) object: &'a Value,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    /// The pod is created.
    Create,
    /// The pod is there, and made once more: by somebody who does not write its stamp.
    Again,
    /// The pod is changed.
    Update {
        /// As it is.
        old: &'a Value,
    },
}

/// Admits a pod.
pub(crate) fn admit(request: &Request<'_>, wishes: &Wishes) -> Answer {
    let object = request.object;
    let is_mirror = !object["metadata"]["annotations"][MIRROR].is_null();
    // What is no pod an API server refuses by itself.
    if !object["spec"].is_object() || is_mirror {
        return Answer::default();
    }
    let case = Case::new(request, wishes);
    match request.operation {
        Operation::Update { old } => case.keep_stamp(old),
        Operation::Create | Operation::Again => case.create(),
    }
}

/// A pod on its way through.
struct Case<'a> {
    wishes: &'a Wishes,
    object: &'a Value,
    /// As core knows a pod, without the stamp.
    pod: Pod,
    /// What the operator says of the mesh, exclusions apart.
    mesh: Mesh,
    edit: Edit,
    remarks: Vec<Remark>,
}

impl<'a> Case<'a> {
    fn new(request: &Request<'a>, wishes: &'a Wishes) -> Case<'a> {
        let (mut pod, complaints) = facts::pod(request.object, request.namespace);
        request.namespace.clone_into(&mut pod.namespace);
        if pod.name.is_empty() {
            // It gets one from its controller's prefix before it is stored; a template has none at all.
            pod.name = "(unnamed)".to_owned();
        }
        pod.annotations.remove(STAMP_ANNOTATION);
        let mesh = Mesh {
            proxy_container: wishes.proxy_container.clone(),
            min_containers: wishes.min_containers,
            defaults: wishes.defaults.clone(),
            ..Mesh::default()
        };
        let remarks = complaints.iter().map(|complaint| about(Code::OddSetting, complaint)).collect();
        let mut edit = Edit::new(request.object);
        if matches!(request.operation, Operation::Again) {
            edit.forget(STAMP_ANNOTATION);
        }
        Case { wishes, object: request.object, pod, mesh, edit, remarks }
    }

    /// After its creation nobody changes a pod's stamp: what it says happened, or is going to when its network is set up.
    fn keep_stamp(mut self, old: &Value) -> Answer {
        self.remarks.clear();
        let stamp = old["metadata"]["annotations"][STAMP_ANNOTATION].as_str();
        self.stamp(stamp.map(str::to_owned), Outcome::Untouched)
    }

    fn create(self) -> Answer {
        let excluded = self.wishes.excludes(&self.pod.namespace);
        match (self.wishes.mode, self.wishes.excluded) {
            (Mode::Cni, Excluded::InitContainer) if excluded => self.exclude(),
            (Mode::Cni, _) if !excluded && self.wishes.serving => self.convert(),
            _ => self.leave(),
        }
    }

    /// Nothing of ours is or was wanted in it.
    fn leave(mut self) -> Answer {
        self.remarks.clear();
        self.stamp(None, Outcome::Untouched)
    }

    /// Why it is not redirected, its own `istio-init` apart; `None` if it is.
    fn missing(&self) -> Option<Reason> {
        let conditions = decide(&self.pod, &self.mesh).conditions.into_iter();
        let mut reasons = conditions.filter(|condition| !condition.holds).map(|condition| condition.reason);
        reasons.find(|reason| *reason != Reason::InitContainerPresent)
    }

    /// In an excluded namespace the pod redirects itself.
    fn exclude(self) -> Answer {
        match self.missing() {
            None => self.redirect_itself(Reason::NamespaceExcluded, None),
            Some(_) => self.skip(Reason::NamespaceExcluded),
        }
    }

    /// Stamps a pod that an injector has been at as one to be left alone. Others say enough by not having a status.
    fn skip(mut self, reason: Reason) -> Answer {
        if !self.pod.annotations.contains_key(STATUS_ANNOTATION) {
            return self.leave();
        }
        self.remarks.clear();
        self.stamp(Some(stamp::write(&Stamp::Skip(reason))), Outcome::Skipped(reason))
    }

    fn convert(mut self) -> Answer {
        let (init, validation) = (self.edit.init_container(INIT), self.edit.init_container(VALIDATION));
        if let Some(reason) = self.missing() {
            return self.skip(if init.is_some() { Reason::InitContainerPresent } else { reason });
        }
        if validation.is_none() && self.is_users_own_init() {
            return self.skip(Reason::InitContainerPresent);
        }
        if let Some(why) = network::unserved(self.object, &self.pod, &self.wishes.unserved) {
            return self.keep(Remark::new(Code::UnservedNode, why));
        }
        let told = init.or(validation).and_then(|index| self.told(index));
        // Of a validation it is enough that it validates: without it the pod's annotations say the same.
        let told = told.filter(|told| init.is_some() || settings::is_readable(told));
        if init.is_some() && told.is_none() {
            return self
                .keep(Remark::new(Code::UnknownInit, "istio-init runs a command that is not known here"));
        }
        let resolved = match settings::resolve(&self.pod, told.as_ref(), &self.mesh) {
            Ok(resolved) => resolved,
            Err(usage) => {
                return self.keep(Remark::new(
                    Code::UnknownInit,
                    format!("istio-init is told what is not known here: {usage}"),
                ));
            }
        };
        if let Some(wrong) = self.complain(&resolved) {
            return self.keep_or_refuse(wrong);
        }
        let Some(identity) = settings::validator(&resolved.settings) else {
            return self.keep(Remark::new(Code::ProxyIsRoot, "the proxy runs as root"));
        };
        if let Some(kept) = self.kept_for_init_containers(&resolved.settings) {
            return self.keep(kept);
        }
        self.hand_over(&resolved.settings, told.as_ref(), identity)
    }

    /// Takes the redirection out of the pod: the stamp says it all, and the validation waits for it.
    fn hand_over(mut self, settings: &Settings, told: Option<&Told>, identity: (u32, u32)) -> Answer {
        let mut outcome = Outcome::Stamped;
        if let (Some(_), Some(told)) = (self.edit.init_container(INIT), told) {
            // An injector that ran again has put `istio-init` beside ours.
            if let Some(earlier) = self.edit.init_container(VALIDATION) {
                self.edit.remove_init_container(earlier);
            }
            let index = self.edit.init_container(INIT).expect("another one was taken out");
            init::validate(&mut self.edit, index, told, identity);
            outcome = Outcome::Converted;
        }
        self.stamp(Some(stamp::write(&Stamp::Redirect(Box::new(settings.clone())))), outcome)
    }

    fn told(&self, index: usize) -> Option<Told> {
        init::told(self.edit.init_container_at(index))
    }

    /// Whether the pod's `istio-init` is not the injector's, as far as it can be known.
    fn is_users_own_init(&self) -> bool {
        if self.pod.containers.iter().any(|one| one.name == INIT && one.role != Role::Init) {
            return true;
        }
        let status = self.pod.annotations.get(STATUS_ANNOTATION);
        let listed = status.and_then(|status| lists_init_container(status, INIT));
        self.edit.init_container(INIT).is_some() && listed == Some(false)
    }

    /// Remarks on everything that is wrong with the settings; the first thing that keeps them from being used.
    fn complain(&mut self, resolved: &Resolved) -> Option<Remark> {
        let denies = self.wishes.invalid_pods == Invalid::Deny;
        let mut first = None;
        for complaint in &resolved.complaints {
            if complaint.fatal && first.is_none() {
                first = Some(about(Code::UnusableSetting, complaint));
            } else {
                let code = if complaint.fatal { Code::UnusableSetting } else { Code::OddSetting };
                self.remarks.push(about(code, complaint));
            }
        }
        // A pod in which one container bypasses the mesh works otherwise: only who wants it refused has it refused.
        for clash in &resolved.clashes {
            let remark = about(Code::IdentityClash, clash);
            if denies && first.is_none() { first = Some(remark) } else { self.remarks.push(remark) }
        }
        first
    }

    /// Why `istio-init` stays, if it does: those before it have a network until it runs, and would have none. A validation in
    /// its place was made of it, by an earlier round of this admission if not by the injector, and can be made one again.
    fn kept_for_init_containers(&mut self, settings: &Settings) -> Option<Remark> {
        let place = self.edit.init_container(INIT).or(self.edit.init_container(VALIDATION)).unwrap_or(0);
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for (index, container) in network::cut_off(&self.pod, &self.mesh.proxy_container, settings) {
            if index < place {
                kept.push(container.name.as_str())
            } else {
                lost.push(container.name.as_str())
            }
        }
        if !kept.is_empty() {
            let what = format!("istio-init stays, because {} would lose the network", kept.join(", "));
            return Some(Remark::new(Code::InitContainersKept, what));
        }
        if !lost.is_empty() {
            let what = format!("{} run redirected before the proxy is up", lost.join(", "));
            self.remarks.push(Remark::new(Code::InitContainersCutOff, what));
        }
        None
    }

    fn keep_or_refuse(self, remark: Remark) -> Answer {
        if self.wishes.invalid_pods == Invalid::Deny {
            let outcome = Outcome::Refused(remark.code);
            return Answer { warnings: self.remarks, refusal: Some(remark), outcome, ..Answer::default() };
        }
        self.keep(remark)
    }

    /// Leaves the redirection to the pod's own container. Where there is none, a pod that nobody could redirect may be refused,
    /// and one with settings that nobody can use is the plugin's to refuse.
    fn keep(mut self, remark: Remark) -> Answer {
        let code = remark.code;
        let has_init = self.edit.init_container(INIT).is_some();
        if !has_init && code == Code::UnusableSetting {
            self.remarks.insert(0, remark);
            return self.stamp(None, Outcome::Kept(code));
        }
        self.redirect_itself(Reason::InitContainerPresent, Some(remark))
    }

    /// Sees to it that the pod has an `istio-init` that works, and stamps it as one to be left alone.
    fn redirect_itself(mut self, reason: Reason, kept: Option<Remark>) -> Answer {
        let (init, validation) = (self.edit.init_container(INIT), self.edit.init_container(VALIDATION));
        let mut outcome = kept.as_ref().map_or(Outcome::Skipped(reason), |remark| Outcome::Kept(remark.code));
        match (init, validation) {
            (Some(_), None) => {}
            (Some(_), Some(validation)) => {
                self.edit.remove_init_container(validation);
                init::rename(&mut self.edit, VALIDATION, INIT);
            }
            (None, validation) => {
                let told = validation.and_then(|index| self.told(index));
                let (Some(index), Some(told)) = (validation, told) else {
                    return self.without_init(kept);
                };
                let (stated, _) =
                    knobs::settings_of(&self.pod, &self.mesh.proxy_container, &self.mesh.defaults);
                init::redirect(&mut self.edit, index, &told, &stated);
                outcome = Outcome::Restored(reason);
            }
        }
        match kept {
            None => self.remarks.clear(),
            // Nobody need do anything about where it is to run.
            Some(remark) if remark.code == Code::UnservedNode => {}
            Some(remark) => self.remarks.insert(0, remark),
        }
        self.stamp(Some(stamp::write(&Stamp::Skip(reason))), outcome)
    }

    /// There is no container that could redirect the pod, and nothing to make one of.
    fn without_init(mut self, kept: Option<Remark>) -> Answer {
        let why = kept.map_or_else(
            || format!("the namespace {} is excluded", self.pod.namespace),
            |remark| remark.about,
        );
        let what = format!("nothing redirects this pod: {why}, and it has no istio-init");
        let remark = Remark::new(Code::NoInitContainer, what);
        if self.wishes.invalid_pods == Invalid::Deny {
            return self.keep_or_refuse(remark);
        }
        self.remarks.insert(0, remark);
        self.stamp(None, Outcome::Kept(Code::NoInitContainer))
    }

    /// Puts the stamp on, or takes it off, and ends.
    fn stamp(mut self, stamp: Option<String>, mut outcome: Outcome) -> Answer {
        let found = self.edit.annotation(STAMP_ANNOTATION).map(str::to_owned);
        let means = |text: &Option<String>| text.as_deref().map(stamp::read);
        if found != stamp && outcome == Outcome::Untouched {
            outcome = Outcome::Unforged;
        }
        // One that says the same in other words is nobody's attempt at anything.
        if means(&found) != means(&stamp) && (found.is_some() || outcome == Outcome::Unforged) {
            let what = format!("somebody wrote the annotation {STAMP_ANNOTATION}, which is taken back");
            self.remarks.push(Remark::new(Code::ForgedStamp, what));
        }
        self.edit.annotate(STAMP_ANNOTATION, stamp.as_deref());
        Answer { patch: self.edit.patch(), warnings: self.remarks, refusal: None, outcome }
    }
}

/// A complaint of core's as a remark: its own way out is the one.
fn about(code: Code, complaint: &Complaint) -> Remark {
    let whole = complaint.to_string();
    let about = whole.strip_suffix(&format!("; {}", complaint.fix)).unwrap_or(&whole).to_owned();
    Remark { code, about, way_out: complaint.fix.clone() }
}

#[cfg(test)]
mod tests;
