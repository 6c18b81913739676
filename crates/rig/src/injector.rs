//! What Istio's injector writes into pods. Plain data.

/// What it tells the `istio-init` of a pod and a mesh that state nothing. One argument is empty.
const TOLD: &str = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020";

/// The same, as a container's arguments.
#[must_use]
pub fn told() -> Vec<&'static str> {
    TOLD.split(' ').collect()
}
