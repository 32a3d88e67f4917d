//! The kinds of event. Names are `io.permyx.<name>.v1` on the wire.

macro_rules! kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// What an event tells of. A closed set: it is a metric's label.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum EventKind {
            $($kind,)*
        }

        impl EventKind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The short name, as the published data contract has it (`execution.authorized`).
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    ExecutionAuthorized = "execution.authorized",
    ExecutionDenied = "execution.denied",
    ExecutionReserved = "execution.reserved",
    ExecutionValidated = "execution.validated",
    ExecutionReleased = "execution.released",
    ExecutionIndeterminate = "execution.indeterminate",
    ExecutionResolved = "execution.resolved",
    ExecutionExpired = "execution.expired",
    ExecutionReplayDetected = "execution.replay_detected",
    ExecutionRetried = "execution.retried",
    ExecutionObserved = "execution.observed",
    ExecutionBypassed = "execution.bypassed",
    OrderObserved = "order.observed",
    OrderDrifted = "order.drifted",
    OrderCorrelated = "order.correlated",
    OrderUnmatched = "order.unmatched",
    OrderCorrelationRevised = "order.correlation_revised",
    OrderCancelled = "order.cancelled",
    OrderRefunded = "order.refunded",
    AttributionIngested = "attribution.ingested",
    PolicyActivated = "policy.activated",
    PolicyRejected = "policy.rejected",
    KeyCreated = "key.created",
    KeyRetired = "key.retired",
    AgentKeyCreated = "agent_key.created",
    AgentKeyRevoked = "agent_key.revoked",
    RevocationAdded = "revocation.added",
    RevocationLifted = "revocation.lifted",
    LedgerEpochChanged = "ledger.epoch_changed",
    EvidenceGap = "evidence.gap",
    EvidenceLogOpened = "evidence.log_opened",
    EvidenceExported = "evidence.exported",
    SystemAdministered = "system.administered",
    SystemStarted = "system.started",
    SystemStopped = "system.stopped",
}

impl EventKind {
    /// The kind with this short name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Reservations and settlements: a part of the spool is kept for them.
    #[must_use]
    pub const fn is_settlement(self) -> bool {
        matches!(
            self,
            Self::ExecutionReserved | Self::ExecutionValidated | Self::ExecutionReleased | Self::ExecutionIndeterminate
        )
    }
}
