//! The catalogue of codes, MR0000 to MR6999: every refusal, failure and finding has one, and each is explained here, offline.
//!
//! A number keeps its meaning for ever: it is stored in statuses, searched for and talked about. One may be added, none may
//! change or be used again. The texts are data beside this file, in two languages; names and numbers are in none. Plain data.

use crate::args::output::Lang;
use millrace_core::policy::Reason;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// Declares the codes: number and name of each, ascending.
macro_rules! codes {
    ($($number:literal $name:ident,)*) => {
        /// One code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each is documented in the catalogue's texts, which a test holds to be whole")]
        pub(crate) enum Code { $($name = $number,)* }

        impl Code {
            /// All codes, ascending.
            pub(crate) const ALL: &[Code] = &[$(Code::$name,)*];

            /// Its stable name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }
        }
    };
}

codes! {
    0 Redirected,
    1 NotKubernetes,
    2 HostNetwork,
    3 NamespaceExcluded,
    4 NoProxyContainer,
    5 SingleContainer,
    6 NotInjected,
    7 InjectionDisabled,
    8 InitContainerPresent,
    9 ProxyDisabled,
    10 NotSidecar,
    11 InterceptionNone,
    12 NotEnrolled,
    13 FailedOpen,

    1001 UnusableSetting,
    1002 OddSetting,
    1101 SpecRefused,
    1102 AgentConfigUnusable,
    1103 NotInstalled,
    1104 FieldConflict,
    1105 Forbidden,
    1106 ServerUnreachable,
    1107 SpecDoubtful,
    1108 SessionExpired,

    2001 NodeNotReady,
    2002 AgentAbsent,
    2003 AgentNotReady,
    2004 ReportStale,
    2005 AgentOutdated,
    2101 NoList,
    2102 ListBroken,
    2103 ListedPluginMissing,
    2104 ChainOverwritten,
    2105 OtherRedirector,
    2106 ListTakenAway,
    2107 OwnListOutranked,
    2108 ListDelegated,
    2109 NewerInstaller,
    2110 ListForeignOwner,
    2111 ChainUnguarded,
    2112 NoPluginFolder,
    2113 PluginDoesNotRun,
    2114 PluginTooOld,
    2115 NotPersistent,
    2116 NodeNotCleared,
    2201 SelfTestFailed,
    2202 AgentUnreachable,
    2203 StartsFail,
    2204 NoBackend,
    2301 Unredirected,
    2302 RulesDrifted,
    2303 StuckInValidation,

    3001 IdentityClash,
    3002 InitContainersKept,
    3003 InitContainersCutOff,
    3004 UnservedNode,
    3005 UnknownInit,
    3006 ProxyIsRoot,
    3007 NoInitContainer,
    3008 ForgedStamp,
    3101 WebhookDown,
    3102 WebhookUntrusted,
    3103 WebhookNotLast,

    4001 RolloutStalled,
    4002 RolloutPaused,
    4003 CanaryFailed,
    4004 RolledBack,
    4005 RestartDebt,
    4006 Draining,
    4007 ChildNotApplied,
    4008 ChildForeign,
    4009 ControllerAbsent,
    4010 ChildChanged,
    4101 EvictionBlocked,
    4102 NotRestartable,
    4103 WaveStalled,
    4104 MigrationPaused,
    4201 RemainsFound,
    4202 NothingToRollBackTo,
    4203 VersionSkew,

    5001 KubernetesTooOld,
    5002 MeshVersionUnsupported,
    5003 RuntimeTooOld,
    5004 RuntimeHidesAnnotations,
    5005 CiliumExclusive,
    5006 CiliumSocketLoadBalancing,
    5007 CalicoConnectTimeLoadBalancing,
    5008 OtherMeshInChain,
    5009 PodSecurityForbidsInit,
    5010 InjectorInValidationMode,
    5011 NoInjector,
    5012 KernelTooOld,
    5013 NodeUnsupported,
    5014 MultusPresent,
    5015 InitContainersLoseNetwork,
    5016 RightsMissing,
    5017 DefinitionOutdated,
    5018 PlatformUnknown,

    6001 NotIntercepted,
    6002 RulesMissing,
    6003 RulesForeign,
    6004 TwoBackends,
    6005 NotVerifiable,
}

/// What a code means, in one language.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// In one line.
    #[serde(default)]
    pub(crate) meaning: String,
    /// How it comes about.
    pub(crate) causes: String,
    /// Who suffers, and how.
    pub(crate) affected: String,
    /// The next command or act.
    #[serde(default)]
    pub(crate) next: String,
}

impl Code {
    /// Its number.
    pub(crate) fn number(self) -> u16 {
        self as u16
    }

    /// The code of that id, `MR2104`; in any case of letters.
    pub(crate) fn from_id(id: &str) -> Option<Code> {
        let id = id.to_ascii_uppercase();
        Code::ALL.iter().copied().find(|code| code.to_string() == id)
    }

    /// The code of a decision.
    pub(crate) fn of(reason: Reason) -> Code {
        match reason {
            Reason::NotKubernetes => Code::NotKubernetes,
            Reason::HostNetwork => Code::HostNetwork,
            Reason::NamespaceExcluded => Code::NamespaceExcluded,
            Reason::NoProxyContainer => Code::NoProxyContainer,
            Reason::SingleContainer => Code::SingleContainer,
            Reason::NotInjected => Code::NotInjected,
            Reason::InjectionDisabled => Code::InjectionDisabled,
            Reason::InitContainerPresent => Code::InitContainerPresent,
            Reason::ProxyDisabled => Code::ProxyDisabled,
            Reason::NotSidecar => Code::NotSidecar,
            Reason::InterceptionNone => Code::InterceptionNone,
            Reason::NotEnrolled => Code::NotEnrolled,
            Reason::FailedOpen => Code::FailedOpen,
        }
    }

    /// What it means.
    pub(crate) fn text(self, lang: Lang) -> &'static Text {
        static ENGLISH: LazyLock<Texts> = LazyLock::new(|| read(include_str!("codes/en.toml"), true));
        static CHINESE: LazyLock<Texts> = LazyLock::new(|| read(include_str!("codes/zh.toml"), false));
        let texts = match lang {
            Lang::En => &*ENGLISH,
            Lang::Zh => &*CHINESE,
        };
        texts.get(&self.to_string()).expect("every code has its text; a test holds it")
    }

    /// What its group is about.
    pub(crate) fn group(self, lang: Lang) -> &'static str {
        let (english, chinese) = GROUPS[usize::from(self.number() / 1000)];
        match lang {
            Lang::En => english,
            Lang::Zh => chinese,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MR{:04}", self.number())
    }
}

/// The ids of the codes that somebody may have meant by `id`, the nearest first; at most three.
pub(crate) fn nearest(id: &str) -> Vec<Code> {
    let wanted = id.to_ascii_uppercase();
    let distance = |code: &Code| {
        let shown = code.to_string();
        let same = shown.chars().zip(wanted.chars()).take_while(|(one, other)| one == other).count();
        let number: u16 = wanted.trim_start_matches("MR").parse().unwrap_or(u16::MAX);
        (shown.len() - same, code.number().abs_diff(number))
    };
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(distance);
    codes.truncate(3);
    codes
}

/// By the thousand.
const GROUPS: [(&str, &str); 7] = [
    ("decisions about a pod", "对 Pod 的判定"),
    ("configuration and access", "配置与访问"),
    ("node and chain", "节点与 CNI 链"),
    ("admission", "准入"),
    ("transitions and rollout", "切换与发布"),
    ("preconditions", "前置条件"),
    ("verification", "验证"),
];

type Texts = BTreeMap<String, Text>;

/// Reads a language's texts. In English, what a decision means and its way out are the decision's own words.
fn read(toml: &str, english: bool) -> Texts {
    let mut texts: Texts = toml::from_str(toml).expect("the texts are TOML; a test holds it");
    for reason in Reason::ALL.into_iter().filter(|_| english) {
        if let Some(text) = texts.get_mut(&Code::of(reason).to_string()) {
            text.meaning = reason.sentence().to_owned();
            text.next = reason.way_out().to_owned();
        }
    }
    texts
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_in_both_languages() {
        for (lang, toml) in
            [(Lang::En, include_str!("codes/en.toml")), (Lang::Zh, include_str!("codes/zh.toml"))]
        {
            for code in Code::ALL {
                let text = code.text(lang);
                for part in [&text.meaning, &text.causes, &text.affected, &text.next] {
                    assert!(!part.is_empty() && !part.contains('\n'), "{code} in {lang:?}: {text:?}");
                    assert!(!part.ends_with(['.', '。']), "{code} in {lang:?} ends in a full stop: {part}");
                }
            }
            let texts: Texts = toml::from_str(toml).unwrap();
            let unknown: Vec<&String> = texts.keys().filter(|id| Code::from_id(id).is_none()).collect();
            assert!(unknown.is_empty(), "{lang:?} explains what is no code: {unknown:?}");
        }
    }

    #[test]
    fn numbers_ascend_and_names_are_those_of_the_reasons() {
        assert!(Code::ALL.is_sorted_by(|one, other| one < other));
        assert!(Code::ALL.iter().all(|code| code.number() < 7000));
        for reason in Reason::ALL {
            assert_eq!(Code::of(reason).name(), reason.name());
        }
        assert_eq!(Code::ALL.iter().filter(|code| code.number() < 1000).count(), Reason::ALL.len() + 1);
    }

    #[test]
    fn an_unknown_code_has_near_ones() {
        let near = |id: &str| nearest(id).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(Code::from_id("mr2104"), Some(Code::ChainOverwritten));
        assert_eq!(Code::from_id("2104"), None);
        assert_eq!(near("MR2199"), "MR2116 MR2115 MR2114");
        assert_eq!(near("2104").split(' ').next(), Some("MR2104"));
        assert_eq!(near("MR9999").split(' ').next(), Some("MR6005"));
    }

    /// The golden file is only ever added to: a line that is there stays, whatever `UPDATE_GOLDEN` says.
    #[test]
    fn golden_numbers_never_change_their_names() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/codes/names.txt");
        let now: Vec<String> = Code::ALL.iter().map(|code| format!("{code} {}", code.name())).collect();
        let before = std::fs::read_to_string(path).unwrap_or_default();
        for line in before.lines() {
            assert!(
                now.iter().any(|known| known == line),
                "{line} is promised: a code never changes its name nor goes"
            );
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, now.join("\n") + "\n").unwrap();
        }
        let held = std::fs::read_to_string(path).expect("a golden file; UPDATE_GOLDEN=1 makes it");
        assert_eq!(held.lines().count(), now.len(), "UPDATE_GOLDEN=1 adds what is new");
    }
}
