//! What a namespace holds, for the report: its tables as `iptables` lists them, and each rule with its count and its reason. PURE.

use super::super::{reasons, rules};
use super::report::{Held, Listed};
use millrace_core::dialect::{Backend, listing, text};
use millrace_core::rules::origin::origin;
use millrace_core::rules::{Content, Family, Observed, ObservedRule, Place};

/// The tables that are not empty, of each backend that has one.
pub(super) fn tables(found: &[(Backend, Observed)]) -> Vec<Listed> {
    let of = |(backend, observed): &(Backend, Observed)| {
        let tables = rules::tables(observed, &[Family::V4, Family::V6], listing::list);
        let listed = |(title, text)| Listed { title: format!("{title}, by {backend}"), text };
        tables.into_iter().map(listed).collect::<Vec<_>>()
    };
    found.iter().flat_map(of).collect()
}

/// The rules of one backend in the order in which a packet meets them.
pub(super) fn rules(observed: &Observed) -> Vec<Held> {
    let numbered = |(place, rules): (&Place, &Vec<ObservedRule>)| {
        (1..).zip(rules).map(|(number, rule)| held(*place, number, rule)).collect::<Vec<_>>()
    };
    observed.chains.iter().flat_map(numbered).collect()
}

fn held(place: Place, number: usize, rule: &ObservedRule) -> Held {
    let (words, why) = match &rule.content {
        Content::Known(known) => (text::arguments(place.family, known), origin(place, known)),
        Content::Foreign { text, .. } => (text.clone(), None),
    };
    Held {
        family: reasons::name(place.family).to_owned(),
        table: place.table.name().to_owned(),
        chain: place.chain.name().to_owned(),
        number,
        packets: rule.packets,
        rule: words,
        why: why.map(|why| why.why().to_owned()).unwrap_or_default(),
        setting: why.map(|why| why.setting().to_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::rules::plan::plan;
    use millrace_core::settings::{Families, Settings};

    #[test]
    fn what_is_there_is_told_with_its_reason() {
        let mut observed = rules::untouched(&plan(&Settings::default(), Families::V4).rules);
        let foreign = Content::Foreign { text: "-m owner".to_owned(), jump: None };
        let first = observed.chains.values_mut().next().unwrap();
        first.push(ObservedRule { handle: 9, packets: 7, bytes: 420, content: foreign });
        let count = first.len();
        let found = rules(&observed);
        let of = |rule: &Held| (rule.packets, rule.rule.clone(), rule.why.is_empty());
        assert_eq!(of(&found[count - 1]), (7, "-m owner".to_owned(), true));
        assert!(found.iter().filter(|rule| rule.why.is_empty()).count() == 1, "{found:?}");
        let tables = tables(&[(Backend::Nftables, observed)]);
        assert_eq!(tables.iter().map(|table| &*table.title).collect::<Vec<_>>(), ["IPv4 nat, by nftables"]);
        assert!(tables[0].text.contains("       7      420 "), "{}", tables[0].text);
    }
}
