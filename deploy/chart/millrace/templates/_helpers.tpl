{{/* Made by `millrace print`; change crates/cluster/src/print, then run `make golden`. */}}

{{- define "millrace.platforms" -}}
{
  "kubeadm": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/etc/containerd",
    "way": ""
  },
  "gke": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/home/kubernetes/bin",
    "runtimeDir": "/etc/containerd",
    "way": ""
  },
  "eks": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/etc/containerd",
    "way": ""
  },
  "aks": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/etc/containerd",
    "way": ""
  },
  "k3s": {
    "confDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    "binDir": "/var/lib/rancher/k3s/data/cni",
    "runtimeDir": "/var/lib/rancher/k3s/agent/etc/containerd",
    "way": ""
  },
  "rke2": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/var/lib/rancher/rke2/agent/etc/containerd",
    "way": ""
  },
  "microk8s": {
    "confDir": "/var/snap/microk8s/current/args/cni-network",
    "binDir": "/var/snap/microk8s/current/opt/cni/bin",
    "runtimeDir": "/var/snap/microk8s/current/args",
    "way": ""
  },
  "openshift": {
    "confDir": "/run/multus/cni/net.d",
    "binDir": "/var/lib/cni/bin",
    "runtimeDir": "/etc/crio",
    "way": "auxiliary"
  },
  "bottlerocket": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/etc/containerd",
    "way": ""
  },
  "talos": {
    "confDir": "/etc/cni/net.d",
    "binDir": "/opt/cni/bin",
    "runtimeDir": "/etc/cri",
    "way": ""
  }
}
{{- end }}

{{- define "millrace.confDir" -}}
{{ .Values.install.confDir | default (get (get (include "millrace.platforms" . | fromJson) .Values.platform) "confDir") }}
{{- end }}

{{- define "millrace.binDir" -}}
{{ .Values.install.binDir | default (get (get (include "millrace.platforms" . | fromJson) .Values.platform) "binDir") }}
{{- end }}

{{- define "millrace.runtimeDir" -}}
{{ .Values.install.runtimeDir | default (get (get (include "millrace.platforms" . | fromJson) .Values.platform) "runtimeDir") }}
{{- end }}

{{- define "millrace.way" -}}
{{ .Values.install.way | default (get (get (include "millrace.platforms" . | fromJson) .Values.platform) "way") }}
{{- end }}

{{- define "millrace.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "millrace.auditPolicy" -}}
{{ .Values.audit.policy | default (eq .Values.profile "audit" | ternary "Repair" "Off") }}
{{- end }}

{{- define "millrace.config" -}}
# Pods in these keep istio-init. What is always excluded: pods in the node's network.
excludeNamespaces: {{ .Values.excludeNamespaces | toJson }}
# Closed: a mesh pod whose decision cannot be had does not start. Open: it starts unprotected.
failurePolicy: {{ .Values.failurePolicy }}
# auto, iptables, nftables or iptables-text.
backend: {{ .Values.backend }}
# How long the start of a pod goes on asking for the agent.
agentTimeout: {{ .Values.agentTimeout | quote }}
# Whether a node counts as not ready for pods while its agent is away (CNI 1.1.0 lists only).
statusGating: {{ .Values.statusGating }}
install:
  platform: {{ .Values.platform }}
  # in-place, own-list or auxiliary (Multus); without it by who owns the list.
  way: {{ include "millrace.way" . | quote }}
  # The runtime's directories; without them what its configuration says.
  confDir: {{ eq .Values.platform "openshift" | ternary (include "millrace.confDir" .) .Values.install.confDir | quote }}
  binDir: {{ eq .Values.platform "openshift" | ternary (include "millrace.binDir" .) .Values.install.binDir | quote }}
  # The list by name; without it the one the runtime uses.
  list: {{ .Values.install.list | quote }}
audit:
  # Off, Report, Repair, Delete or Label. All but Off need the audit profile.
  policy: {{ include "millrace.auditPolicy" . | quote }}
  # Which findings are acted upon; all are reported.
  findings: {{ .Values.audit.findings | toJson }}
  # The time between two looks at all pods.
  period: {{ .Values.audit.period | quote }}
  # What Label puts on a pod.
  label: {{ .Values.audit.label | quote }}
selection:
  # The name of the container that is the sidecar.
  proxyContainer: {{ .Values.selection.proxyContainer | quote }}
  # The fewest containers a pod of the mesh has, ordinary init containers not counted: 1 or 2.
  minContainers: {{ .Values.selection.minContainers }}
# Settings of pods that state none: text by key, as docs/settings.md has them.
defaults: {{ .Values.defaults | toJson }}
{{- end }}
