//! Wrong MeshCNIs, each with the field that is wrong and with who refuses it.

/// Who refuses one first: whoever comes later says the same or is never asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The schema, on every server.
    Schema,
    /// A rule in CEL, which servers before 1.25 pass over; then `check` says the same.
    Rule,
    /// Only `check`: neither can say it.
    Check,
}

pub(super) struct Wrong {
    pub(super) by: By,
    /// The specification, YAML in one line.
    pub(super) spec: &'static str,
    /// What a message names.
    pub(super) field: &'static str,
}

const fn wrong(by: By, spec: &'static str, field: &'static str) -> Wrong {
    Wrong { by, spec, field }
}

use By::{Check, Rule, Schema};

pub(super) const ALL: [Wrong; 37] = [
    wrong(Schema, "{mode: Cni}", "spec.mode"),
    wrong(Schema, "{excludeNamespace: [a]}", "excludeNamespace"),
    wrong(Schema, "{excludeNamespaces: ['a*']}", "spec.excludeNamespaces"),
    wrong(Schema, "{excludeNamespaces: [a, a]}", "spec.excludeNamespaces"),
    wrong(Schema, "{excludeNamespaces: a}", "spec.excludeNamespaces"),
    wrong(Schema, "{excludedPolicy: Both}", "spec.excludedPolicy"),
    wrong(Schema, "{selection: {proxyContainer: Envoy}}", "spec.selection.proxyContainer"),
    wrong(Schema, "{selection: {minContainers: 3}}", "spec.selection.minContainers"),
    wrong(Schema, "{redirection: {backend: ebpf}}", "spec.redirection.backend"),
    wrong(Schema, "{redirection: {defaults: {outboundPort: 0}}}", "spec.redirection.defaults.outboundPort"),
    wrong(Schema, "{redirection: {defaults: {proxyUIDs: []}}}", "spec.redirection.defaults.proxyUIDs"),
    wrong(Schema, "{redirection: {defaults: {includeInboundPorts: [http]}}}", "includeInboundPorts"),
    wrong(Schema, "{redirection: {defaults: {excludeInterfaces: ['a,b']}}}", "excludeInterfaces"),
    wrong(Schema, "{redirection: {defaults: {loopbackCidr: 10.0.0.0/8}}}", "loopbackCidr"),
    wrong(Schema, "{install: {platform: minikube}}", "spec.install.platform"),
    wrong(Schema, "{install: {confDir: etc/cni}}", "spec.install.confDir"),
    wrong(Schema, "{rollout: {progressDeadlineSeconds: 5}}", "spec.rollout.progressDeadlineSeconds"),
    wrong(Schema, "{rollout: {paused: maybe}}", "paused"),
    wrong(Schema, "{failurePolicy: Maybe}", "spec.failurePolicy"),
    wrong(Schema, "{agentTimeoutSeconds: 101}", "spec.agentTimeoutSeconds"),
    wrong(Schema, "{audit: {policy: repair}}", "spec.audit.policy"),
    wrong(Schema, "{audit: {periodSeconds: 1}}", "spec.audit.periodSeconds"),
    wrong(Schema, "{nodeTaint: {key: 'a b'}}", "spec.nodeTaint.key"),
    wrong(Rule, "{install: {binDir: /opt/../cni}}", "spec.install.binDir"),
    wrong(Rule, "{rollout: {maxUnavailable: 0}}", "spec.rollout.maxUnavailable"),
    wrong(Rule, "{rollout: {maxUnavailable: 0%}}", "spec.rollout.maxUnavailable"),
    wrong(Rule, "{redirection: {defaults: {includeInboundPorts: ['*', '80']}}}", "includeInboundPorts"),
    wrong(Rule, "{redirection: {defaults: {outboundPort: 15006}}}", "spec.redirection.defaults"),
    wrong(Rule, "{redirection: {defaults: {tproxyMark: 1338}}}", "spec.redirection.defaults.tproxyMark"),
    wrong(Rule, "{redirection: {defaults: {tproxyTable: 254}}}", "spec.redirection.defaults.tproxyTable"),
    wrong(
        Check,
        "{redirection: {defaults: {includeOutboundIPRanges: [10.0.0.0/33]}}}",
        "includeOutboundIPRanges[0]",
    ),
    wrong(Check, "{redirection: {defaults: {excludeOutboundPorts: ['9-8']}}}", "excludeOutboundPorts[0]"),
    wrong(
        Check,
        "{redirection: {defaults: {includeInboundPorts: ['80'], excludeInboundPorts: ['80']}}}",
        "spec.redirection.defaults.excludeInboundPorts[0]",
    ),
    wrong(Check, "{install: {way: Auxiliary, platform: eks}}", "spec.install.way"),
    wrong(Check, "{install: {image: 'No Image'}}", "spec.install.image"),
    wrong(Check, "{install: {nodeSelector: {'a b': c}}}", "spec.install.nodeSelector"),
    wrong(Check, "{audit: {policy: Delete, findings: []}}", "spec.audit.findings"),
];
