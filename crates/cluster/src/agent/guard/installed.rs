//! The chain as `install` keeps it, seen by the guard: its plan says whether anything is wrong, its act makes it right.
//!
//! It adds no rule of its own. What an owner has to do first is waited for, and a later installer's work is left alone.

use super::{Chain, Guard, Look, Metrics, Pace};
use crate::agent::install::plan::{Plan, Refusal, Step, plan};
use crate::agent::install::{self, Converged, Error, Target};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What `install` keeps for a target, which may be another from time to time.
pub(crate) struct Installed {
    target: Box<dyn Fn() -> anyhow::Result<Target> + Send + Sync>,
    /// Held by whoever writes: a new wish and a repair may come together.
    turn: Mutex<()>,
}

impl Installed {
    /// What is kept for `target` as it is whenever that is asked.
    pub(crate) fn new(target: impl Fn() -> anyhow::Result<Target> + Send + Sync + 'static) -> Installed {
        Installed { target: Box::new(target), turn: Mutex::new(()) }
    }

    /// Brings the node to what is wanted now.
    pub(crate) fn converge(&self) -> anyhow::Result<Result<Converged, Error>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(install::converge(&(self.target)()?))
    }
}

impl Guard {
    /// Guards what `installed` brings about, in the folders of `target`. The caller holds the lock as long as it runs.
    pub(crate) fn of(
        installed: Arc<Installed>,
        target: &Target,
        metrics: Metrics,
        jitter: Box<dyn FnMut() -> f64 + Send>,
    ) -> Guard {
        // A chain that Multus names only later is in a folder below, found when the agent starts again.
        let chain = install::look(target).ok().and_then(|seen| seen.auxiliary).map(|(chain, _)| chain);
        let mut lists = vec![target.conf_dir.clone()];
        lists.extend(chain.map(|chain| target.conf_dir.join(chain)));
        let binaries: Vec<PathBuf> =
            target.bin_dirs.iter().map(|folder| install::plugin_in(folder)).collect();
        Guard {
            chain: installed,
            lists,
            binaries,
            pace: Pace::default(),
            proc: None,
            metrics,
            jitter,
            tell: Box::new(|_| ()),
        }
    }
}

impl Chain for Installed {
    fn look(&self) -> anyhow::Result<Look> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let target = (self.target)()?;
        judge(plan(&install::look(&target)?, &target.wish))
    }

    fn mend(&self) -> anyhow::Result<()> {
        match self.converge()? {
            // Not planned, but met: the next look does not tell.
            Err(error @ Error::Refused(Refusal::Foreign { .. })) => Err(error.into()),
            // What was refused, and who writes as often as we do, the next look tells: this one was the last try for now.
            Ok(_) | Err(Error::Refused(_) | Error::Contested { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a plan says of the chain as it is.
fn judge(plan: Plan) -> anyhow::Result<Look> {
    if !plan.steps.is_empty() {
        let words: Vec<String> = plan.steps.iter().map(wrong).collect();
        return Ok(Look::Wrong(words.join("; ")));
    }
    match plan.place {
        Ok(_) => Ok(Look::Right),
        Err(refusal) if refusal.may_pass() || matches!(refusal, Refusal::Newer(_)) => {
            Ok(Look::Waiting(refusal.to_string()))
        }
        Err(refusal) => anyhow::bail!("{refusal}"),
    }
}

/// What is wrong where a step is needed.
fn wrong(step: &Step) -> String {
    match step {
        Step::Binary => "the plugin is missing or another".to_owned(),
        Step::Edit { list, has_ours: false, .. } => format!("{list} lacks our entry"),
        Step::Edit { list, has_ours: true, .. } => {
            format!("our entry in {list} is another, or not alone and last")
        }
        Step::Restore { list, .. } => format!("{list} has our entry still"),
        Step::Write { file, from: None, .. } => format!("{file} is missing"),
        Step::Write { file, from: Some(_), .. } => format!("{file} does not follow its owner's list"),
        Step::Remove { file, .. } => format!("{file} is there still"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Foreign, PATIENCE, Runtime, pace};
    use super::super::{Report, Status};
    use super::*;
    use crate::agent::install::tests::{FLANNEL, Node};
    use crate::agent::install::{Claim, Place, Way};
    use std::fs;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    const LIST: &str = "10-flannel.conflist";

    #[test]
    fn a_plan_says_how_the_chain_is() {
        let place = || Place { way: Way::InPlace, file: LIST.into(), owner: LIST.into(), position: (3, 3) };
        let edit = |has_ours| Step::Edit { list: LIST.into(), from: "a".into(), to: "b".into(), has_ours };
        let newer = Refusal::Newer(Claim { installer: "later".into(), generation: 2 });
        let multus = Refusal::NoAuxiliary;
        for (steps, place, wanted) in [
            (vec![], Ok(place()), "right"),
            (vec![edit(false)], Ok(place()), "wrong: 10-flannel.conflist lacks our entry"),
            (
                vec![Step::Binary, edit(true)],
                Ok(place()),
                "wrong: the plugin is missing or another; our entry in 10-flannel.conflist is another, or not alone and last",
            ),
            // First what can be done, then what cannot.
            (vec![Step::Binary], Err(Refusal::NoList), "wrong: the plugin is missing or another"),
            (vec![], Err(Refusal::NoList), "waiting: there is no list to join yet"),
            (vec![], Err(newer), "waiting: later (generation 2) has installed here"),
            (vec![], Err(multus), "broken: Multus's configuration names no auxiliaryCNIChainName"),
        ] {
            let plan = Plan { steps, place, digest: String::new(), versions: vec![], notes: vec![] };
            let said = match judge(plan) {
                Ok(Look::Right) => "right".to_owned(),
                Ok(Look::Wrong(what)) => format!("wrong: {what}"),
                Ok(Look::Waiting(what)) => format!("waiting: {what}"),
                Err(error) => format!("broken: {error}"),
            };
            assert!(said.starts_with(wanted), "{said}\nwanted: {wanted}");
        }
    }

    /// Losses one after the other, a fight, and the owner's leaving, with the real installer.
    #[tokio::test]
    async fn an_installed_chain_is_guarded() {
        let node = Node::new(&[(LIST, FLANNEL)]);
        let reports = Arc::new(Mutex::new(Vec::new()));
        let told = reports.clone();
        let target = node.target("agent");
        let fixed = target.clone();
        let chain = Arc::new(Installed::new(move || Ok(fixed.clone())));
        let mut guard = Guard::of(chain.clone(), &target, Metrics::new("test"), Box::new(|| 0.0));
        guard.pace = pace();
        guard.pace.limits.undone = 3;
        guard.pace.limits.first = Duration::from_secs(1);
        guard.tell = Box::new(move |report| told.lock().unwrap().push(report.clone()));
        let (sender, mut status) = watch::channel(Status::Starting);
        let stop = CancellationToken::new();
        let guard = tokio::spawn(guard.run(sender, stop.clone()));
        let right = async |status: &mut watch::Receiver<Status>, count: usize| {
            let mended =
                |status: &Status| *status == Status::Guarding && reports.lock().unwrap().len() >= count;
            tokio::time::timeout(PATIENCE, status.wait_for(mended))
                .await
                .expect("guarding")
                .expect("it lives");
            assert_eq!(chain.look().unwrap(), Look::Right);
        };
        right(&mut status, 1).await;
        fs::remove_file(node.installed()).unwrap();
        right(&mut status, 2).await;

        let runtime = Runtime::start(node.list(LIST));
        let foreign = Foreign::start(&node.list(LIST), FLANNEL);
        let backed_off = |status: &Status| matches!(status, Status::BackedOff { .. });
        let off = tokio::time::timeout(PATIENCE, status.wait_for(backed_off)).await;
        let words = off.expect("it backs off").expect("it lives").condition().message;
        foreign.stop();
        assert!(words.contains("lacks our entry; it is undone by flannel's install-cni"), "{words}");
        let so_far = reports.lock().unwrap().len();
        right(&mut status, so_far + 1).await;
        assert!(runtime.end() > 0);
        assert!(reports.lock().unwrap().iter().any(|report| matches!(report, Report::BackedOff { .. })));

        fs::remove_file(node.list(LIST)).unwrap();
        let waiting = |status: &Status| matches!(status, Status::Waiting { .. });
        tokio::time::timeout(PATIENCE, status.wait_for(waiting)).await.expect("waiting").expect("it lives");
        assert!(!node.list(LIST).exists(), "an owner's list is not made");
        stop.cancel();
        tokio::time::timeout(PATIENCE, guard).await.expect("it ends").expect("it does not panic");
    }
}
