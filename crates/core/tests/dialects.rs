//! Laws of the two netlink dialects, against a pretended kernel: what is written is read back, and means what the text
//! means; replacing and clearing leave others alone; and no bytes whatever make a reader panic.

mod any;
mod generate;
mod pretend;

use generate::{config, families, family, packet, settings};
use millrace_core::dialect::expressions::{self, Expression, verdict};
use millrace_core::dialect::wire::Writer;
use millrace_core::dialect::{Batch, iptables, nftables, text};
use millrace_core::rules::plan::plan;
use millrace_core::rules::removal::{Removal, removal};
use millrace_core::rules::trace::trace;
use millrace_core::rules::{Observed, RuleSet};
use millrace_core::settings::Families;
use pretend::Kernel;
use proptest::prelude::*;

/// A dialect's three verbs.
struct Dialect {
    write: fn(&RuleSet, &Removal) -> Batch,
    read: fn(&[u8]) -> Observed,
}

const IPTABLES: Dialect =
    Dialect { write: iptables::write, read: |answers| iptables::read(answers).expect("a whole dump") };

const NFTABLES: Dialect =
    Dialect { write: nftables::write, read: |answers| nftables::read(answers).expect("a whole dump") };

impl Dialect {
    fn observe(&self, kernel: &Kernel) -> Observed {
        (self.read)(&kernel.dump())
    }

    fn replace(&self, kernel: &mut Kernel, rules: &RuleSet) -> Batch {
        let batch = (self.write)(rules, &removal(&self.observe(kernel), rules));
        kernel.commit(&batch).unwrap_or_else(|refused| panic!("{refused:?} {:?}", batch.act(refused.0)));
        batch
    }

    /// What is written first is what is read; written again, nothing changes; cleared, nothing is left.
    fn comes_back(&self, rules: &RuleSet) {
        let mut kernel = Kernel::default();
        kernel.commit(&(self.write)(rules, &Removal::default())).expect("an empty namespace takes anything");
        let observed = self.observe(&kernel);
        assert_eq!(observed.known(), *rules);
        assert!(self.replace(&mut kernel, rules).is_empty());
        assert_eq!(self.observe(&kernel).known(), *rules);
        let batch = (self.write)(&RuleSet::default(), &removal(&self.observe(&kernel), rules));
        kernel.commit(&batch).expect("what is ours can go");
        assert_eq!(self.observe(&kernel).known(), RuleSet::default());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_expression_comes_back(fields in any::fields()) {
        let mut w = Writer::default();
        fields.expression().write(&mut w);
        let bytes = w.finish();
        let read: Vec<_> = expressions::read(&bytes).collect();
        prop_assert_eq!(read, [Ok(fields.expression())]);
    }

    #[test]
    fn iptables_reads_what_it_wrote(settings in settings(), families in families()) {
        IPTABLES.comes_back(&plan(&settings, families).rules);
    }

    #[test]
    fn iptables_reads_all_that_the_vocabulary_can_say(rules in any::rules()) {
        IPTABLES.comes_back(&rules);
    }

    #[test]
    fn nftables_reads_what_it_wrote(settings in settings(), families in families()) {
        NFTABLES.comes_back(&plan(&settings, families).rules);
    }

    #[test]
    fn nftables_reads_all_that_the_vocabulary_can_say(rules in any::rules()) {
        NFTABLES.comes_back(&rules);
    }

    #[test]
    fn nftables_replaces_any_plan_by_any_other(
        old in settings(), new in settings(), families in families(),
    ) {
        let (old, new) = (plan(&old, families).rules, plan(&new, families).rules);
        let mut kernel = Kernel::default();
        append_foreign(&mut kernel, "nat", "OUTPUT");
        NFTABLES.replace(&mut kernel, &old);
        NFTABLES.replace(&mut kernel, &new);
        prop_assert_eq!(NFTABLES.observe(&kernel).known(), new);
    }

    #[test]
    fn iptables_replaces_any_plan_by_any_other(
        old in settings(), new in settings(), families in families(),
    ) {
        let (old, new) = (plan(&old, families).rules, plan(&new, families).rules);
        let mut kernel = Kernel::default();
        append_foreign(&mut kernel, "nat", "OUTPUT");
        IPTABLES.replace(&mut kernel, &old);
        append_foreign(&mut kernel, "nat", "PREROUTING");
        // What the old plan put at hooks is found by the old plan.
        let batch = iptables::write(&RuleSet::default(), &removal(&IPTABLES.observe(&kernel), &old));
        kernel.commit(&batch).expect("the old goes");
        IPTABLES.replace(&mut kernel, &new);
        let observed = IPTABLES.observe(&kernel);
        prop_assert_eq!(observed.known(), new);
        let foreign = observed.chains.values().flatten().filter(|rule| rule.content.rule().is_none());
        prop_assert_eq!(foreign.count(), 2);
    }

    #[test]
    fn m5_all_dialects_lead_a_packet_the_same_way(
        settings in settings(), (family, packet) in family().prop_flat_map(|family| (Just(family), packet(family))),
    ) {
        let planned = plan(&settings, Families::Both).rules;
        let way = trace(&planned, &packet);
        let written = text::write(&planned, family);
        let saved = text::read(&written, family).expect("our own text is readable").known();
        prop_assert_eq!(&trace(&saved, &packet), &way, "text: {}", written);
        for (name, dialect) in [("iptables", IPTABLES), ("nftables", NFTABLES)] {
            let mut kernel = Kernel::default();
            dialect.replace(&mut kernel, &planned);
            let held = dialect.observe(&kernel).known();
            prop_assert_eq!(&trace(&held, &packet), &way, "{}", name);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(iptables::read(&bytes));
        drop(nftables::read(&bytes));
    }

    #[test]
    fn no_damage_to_a_dump_makes_a_reader_panic(
        settings in settings(), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut kernel = Kernel::default();
        let rules = plan(&settings, Families::V4).rules;
        IPTABLES.replace(&mut kernel, &rules);
        NFTABLES.replace(&mut kernel, &rules);
        let mut dump = kernel.dump();
        for (at, byte) in damage {
            let at = at.index(dump.len());
            dump[at] = byte;
        }
        drop(iptables::read(&dump));
        drop(nftables::read(&dump));
    }
}

/// A rule that our vocabulary cannot say.
fn append_foreign(kernel: &mut Kernel, table: &str, chain: &str) {
    let mut w = Writer::default();
    Expression::Match { name: b"comment", revision: 0, info: &[0; 256] }.write(&mut w);
    Expression::Verdict { code: verdict::ACCEPT, chain: None }.write(&mut w);
    kernel.append(2, table, chain, &w.finish());
}
