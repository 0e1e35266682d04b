//! Interesting states, and how often they were reached: a run that never got there has shown nothing about them.

/// The states by their names, each written once.
macro_rules! sometimes {
    ($($name:ident,)+) => {
        /// Something that has to happen sometimes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Seen {
            $($name,)+
        }

        /// As many as there are.
        pub(crate) const COUNT: usize = [$(Seen::$name,)+].len();

        /// All of them, in order.
        pub(crate) const ALL: [Seen; COUNT] = [$(Seen::$name,)+];
    };
}

sometimes! {
    FiredByMetric,
    FiredByReport,
    RollbackByHuman,
    LookedBefore,
    SecondPath,
    Joined,
    Recovered,
    NotRecovered,
    EndedPaged,
    Dismissed,
    Approved,
    ApprovedTooLate,
    VetoRunning,
    VetoRan,
    TimedOut,
    LateSuccess,
    UnknownOutcome,
    InDoubt,
    RemoteWaits,
    BudgetSpent,
    OwnDeployAnnounced,
    AnnouncementIgnored,
    VersionAppeared,
    ToldAfterItAppeared,
    WatchPassed,
    WatchUnproven,
    WatchBlind,
    WatchRolledBack,
    WatchSuperseded,
    WatchPaged,
    WatchDismissed,
    BlindPaged,
    Disarmed,
    ArmedAgain,
    DidNotHelp,
    FiredFromLateData,
    HeldByFleet,
    HeldByFreeze,
    HeldByMigration,
    HeldByLimit,
    HeldWithoutTarget,
    DryRunWouldRun,
    KilledIdle,
    KilledWhileFiring,
    KilledWhileRolling,
    KilledWhileVerifying,
    KilledWithReceiptUnwritten,
    KilledWithPageUndelivered,
    AttemptFoundAgain,
    AttemptNeverBegun,
    StartedAfterNeverBegun,
    DiskFull,
    JournalPaged,
    PageNotTaken,
    PageEscalated,
    AnnouncementNotTaken,
    PageRefused,
    ReceiptNotWritten,
    Compacted,
    Reloaded,
    ClockSetBack,
    Stopped,
    NotHeard,
    RehearsalDeployed,
    RehearsalRecovered,
    RehearsalUnseen,
    RehearsalStopped,
    RehearsalCalledOff,
    RehearsalSuperseded,
}

/// How often each was seen.
#[derive(Clone, Debug)]
pub(crate) struct Reached(pub(crate) [u64; COUNT]);

impl Default for Reached {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Reached {
    pub(crate) const fn see(&mut self, seen: Seen) {
        self.0[seen as usize] += 1;
    }

    /// In how many worlds each was seen: another world's counts are added.
    pub(crate) fn add_world(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += u64::from(more > 0);
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    pub(crate) fn never(&self) -> Vec<Seen> {
        ALL.into_iter().filter(|seen| self.0[*seen as usize] == 0).collect()
    }
}
