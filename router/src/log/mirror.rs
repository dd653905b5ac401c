//! The core's small types as format 1 writes them, and the way there and back.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::{
    Action, AtRisk, Cause, ClientId, Duration, Ending, Endpoint, Facts, Foreign, KeyId, Outcome, Priority, ProjectId,
    ProviderId, Reason, Scope, Spill, TierId, Timestamp, Tokens, Transport, UpstreamId, Usage, Usd, Violation,
    Violations, Why,
};

/// Declares an enum without fields that stands for one of the core's, variant by variant.
macro_rules! mirror {
    ($($(#[$doc:meta])* $name:ident = $core:ident { $($variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum $name { $($variant,)* }

        impl From<$core> for $name {
            fn from(value: $core) -> Self {
                match value { $($core::$variant => Self::$variant,)* }
            }
        }

        impl From<$name> for $core {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant,)* }
            }
        }
    )*};
}

mirror! {
    /// Append only.
    TransportRecord = Transport {
        Connect, Reset, ReusedConnection, FirstByteTimeout, IdleTimeout, TotalTimeout, Cut, ErrorEvent, Malformed,
        Abandoned,
    }
    /// Append only.
    ReasonRecord = Reason {
        Overloaded, KeyInvalid, KeySuspended, KeyLeaked, NoFreeTier, ClosedToNewUsers, ServiceDisabled, OutOfFunds,
        ModelNotFound, LocationUnsupported, AddressThrottled, ContextWindow, ContentBlocked, Credential,
    }
    /// Append only.
    SpillRecord = Spill { Exhausted, Patience, Degraded, Starved, Operator, Unsuited, }
    /// Append only.
    OutcomeRecord = Outcome { Answered, Deadline, Refused, Failed, Cut, Cancelled, }
    /// Append only.
    CauseRecord = Cause {
        None, RateMinute, TokensMinute, RateDay, RateUnknown, Overload, Server, Auth, Dead, NotFound, Request,
        StreamCut, Budget, ClientRate, ClientBudget, ClientModel, RetryBudget, Attempts, Operator, ContextWindow,
        ContentBlocked, Address, Deadline,
    }
}

/// A length of time that is mostly whole milliseconds: odd numbers are milliseconds, even ones nanoseconds. As wide as
/// it must be for every length to fit; small ones take few bytes all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nanos(pub(super) u64);

impl Serialize for Nanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole_millis = self.0.is_multiple_of(1_000_000);
        let code = if whole_millis { u128::from(self.0 / 1_000_000) << 1 | 1 } else { u128::from(self.0) << 1 };
        serializer.serialize_u128(code)
    }
}

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = u128::deserialize(deserializer)?;
        let nanos = if code & 1 == 1 { (code >> 1).checked_mul(1_000_000) } else { Some(code >> 1) };
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map(Self).ok_or_else(|| serde::de::Error::custom("a length of time beyond 2^64 ns"))
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self(duration.as_nanos())
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EndingRecord {
    Status(u16),
    Transport(TransportRecord),
}

impl From<Ending> for EndingRecord {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Status(status) => Self::Status(status),
            Ending::Transport(transport) => Self::Transport(transport.into()),
        }
    }
}

impl From<EndingRecord> for Ending {
    fn from(ending: EndingRecord) -> Self {
        match ending {
            EndingRecord::Status(status) => Self::Status(status),
            EndingRecord::Transport(transport) => Self::Transport(transport.into()),
        }
    }
}

/// One quota named as violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ViolationRecord {
    None,
    Unvalued,
    Limit(u32),
}

impl From<Violation> for ViolationRecord {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::None => Self::None,
            Violation::Unvalued => Self::Unvalued,
            Violation::Limit(limit) => Self::Limit(limit),
        }
    }
}

impl From<ViolationRecord> for Violation {
    fn from(violation: ViolationRecord) -> Self {
        match violation {
            ViolationRecord::None => Self::None,
            ViolationRecord::Unvalued => Self::Unvalued,
            ViolationRecord::Limit(limit) => Self::Limit(limit),
        }
    }
}

/// What an answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FactsRecord {
    inner_status: Option<u16>,
    /// Requests a minute, requests a day, tokens a minute, tokens a day; absent when none is violated.
    violations: Option<[ViolationRecord; 4]>,
    retry_after: Option<Nanos>,
    reason: Option<ReasonRecord>,
}

impl From<Facts> for FactsRecord {
    fn from(facts: Facts) -> Self {
        let Facts { inner_status, violations, retry_after, reason } = facts;
        let Violations { requests_minute, requests_day, tokens_minute, tokens_day } = violations;
        let all = [requests_minute, requests_day, tokens_minute, tokens_day].map(ViolationRecord::from);
        Self {
            inner_status,
            violations: violations.any().then_some(all),
            retry_after: retry_after.map(Nanos::from),
            reason: reason.map(ReasonRecord::from),
        }
    }
}

impl From<FactsRecord> for Facts {
    fn from(record: FactsRecord) -> Self {
        let all = record.violations.unwrap_or([ViolationRecord::None; 4]);
        let [requests_minute, requests_day, tokens_minute, tokens_day] = all.map(Violation::from);
        Self {
            inner_status: record.inner_status,
            violations: Violations { requests_minute, requests_day, tokens_minute, tokens_day },
            retry_after: record.retry_after.map(Duration::from),
            reason: record.reason.map(Reason::from),
        }
    }
}

/// What the provider counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UsageRecord {
    input: u32,
    cached: u32,
    output: u32,
}

impl From<Usage> for UsageRecord {
    fn from(usage: Usage) -> Self {
        let Usage { input, cached, output } = usage;
        Self { input: input.get(), cached: cached.get(), output: output.get() }
    }
}

impl From<UsageRecord> for Usage {
    fn from(record: UsageRecord) -> Self {
        Self {
            input: Tokens::new(record.input),
            cached: Tokens::new(record.cached),
            output: Tokens::new(record.output),
        }
    }
}

/// Why an attempt was started; shares in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WhyRecord {
    First,
    Waited { waited: Nanos },
    Retry { before: u16 },
    Spill { cause: SpillRecord, failure_ppm: u32, quota_ppm: u32 },
    Probe { failure_ppm: u32 },
    Panic { usable_ppm: u32 },
}

impl From<Why> for WhyRecord {
    fn from(why: Why) -> Self {
        match why {
            Why::First => Self::First,
            Why::Waited { waited } => Self::Waited { waited: waited.into() },
            Why::Retry { before } => Self::Retry { before },
            Why::Spill { cause, failure_ppm, quota_ppm } => Self::Spill { cause: cause.into(), failure_ppm, quota_ppm },
            Why::Probe { failure_ppm } => Self::Probe { failure_ppm },
            Why::Panic { usable_ppm } => Self::Panic { usable_ppm },
        }
    }
}

impl From<WhyRecord> for Why {
    fn from(why: WhyRecord) -> Self {
        match why {
            WhyRecord::First => Self::First,
            WhyRecord::Waited { waited } => Self::Waited { waited: waited.into() },
            WhyRecord::Retry { before } => Self::Retry { before },
            WhyRecord::Spill { cause, failure_ppm, quota_ppm } => {
                Self::Spill { cause: cause.into(), failure_ppm, quota_ppm }
            }
            WhyRecord::Probe { failure_ppm } => Self::Probe { failure_ppm },
            WhyRecord::Panic { usable_ppm } => Self::Panic { usable_ppm },
        }
    }
}

/// What a baseline's client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForeignRecord {
    error_in_stream: bool,
    text_bytes: u64,
}

impl From<Foreign> for ForeignRecord {
    fn from(foreign: Foreign) -> Self {
        let Foreign { error_in_stream, text_bytes } = foreign;
        Self { error_in_stream, text_bytes }
    }
}

impl From<ForeignRecord> for Foreign {
    fn from(record: ForeignRecord) -> Self {
        Self { error_in_stream: record.error_in_stream, text_bytes: record.text_bytes }
    }
}

/// What a cooldown covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ScopeRecord {
    Key(u32),
    ProjectModel(u32, u16),
    Upstream(u16),
    Provider(u16),
}

impl From<Scope> for ScopeRecord {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Key(key) => Self::Key(key.get()),
            Scope::ProjectModel(project, upstream) => Self::ProjectModel(project.get(), upstream.get()),
            Scope::Upstream(upstream) => Self::Upstream(upstream.get()),
            Scope::Provider(provider) => Self::Provider(provider.get()),
        }
    }
}

impl From<ScopeRecord> for Scope {
    fn from(scope: ScopeRecord) -> Self {
        match scope {
            ScopeRecord::Key(key) => Self::Key(KeyId::new(key)),
            ScopeRecord::ProjectModel(project, upstream) => {
                Self::ProjectModel(ProjectId::new(project), UpstreamId::new(upstream))
            }
            ScopeRecord::Upstream(upstream) => Self::Upstream(UpstreamId::new(upstream)),
            ScopeRecord::Provider(provider) => Self::Provider(ProviderId::new(provider)),
        }
    }
}

/// What an operator did; times are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ActionRecord {
    ClearCooldown { scope: ScopeRecord },
    DrainKey { key: u32, until: u64 },
    RetireKey { key: u32 },
    RestoreKey { key: u32 },
    SetUsed { project: u32, upstream: u16, requests: u32 },
    SkipTier { tier: u16, until: u64 },
    PinTier { tier: u16, until: u64 },
    FreeTier { tier: u16 },
    StopPaid { until: u64 },
    SetBudget { tier: u16, budget: i64 },
    SetClientBudget { client: u16, budget: i64 },
    ForgetLimits { project: u32, upstream: u16 },
    PowerLost { at_risk: u32, since: u64 },
}

impl From<&Action> for ActionRecord {
    fn from(action: &Action) -> Self {
        match *action {
            Action::ClearCooldown { scope } => Self::ClearCooldown { scope: scope.into() },
            Action::DrainKey { key, until } => Self::DrainKey { key: key.get(), until: until.as_nanos() },
            Action::RetireKey { key } => Self::RetireKey { key: key.get() },
            Action::RestoreKey { key } => Self::RestoreKey { key: key.get() },
            Action::SetUsed { project, upstream, requests } => {
                Self::SetUsed { project: project.get(), upstream: upstream.get(), requests }
            }
            Action::SkipTier { tier, until } => Self::SkipTier { tier: tier.get(), until: until.as_nanos() },
            Action::PinTier { tier, until } => Self::PinTier { tier: tier.get(), until: until.as_nanos() },
            Action::FreeTier { tier } => Self::FreeTier { tier: tier.get() },
            Action::StopPaid { until } => Self::StopPaid { until: until.as_nanos() },
            Action::SetBudget { tier, budget } => Self::SetBudget { tier: tier.get(), budget: budget.as_micros() },
            Action::SetClientBudget { client, budget } => {
                Self::SetClientBudget { client: client.get(), budget: budget.as_micros() }
            }
            Action::ForgetLimits { project, upstream } => {
                Self::ForgetLimits { project: project.get(), upstream: upstream.get() }
            }
            Action::PowerLost { at_risk, since } => {
                Self::PowerLost { at_risk: at_risk.as_ppm(), since: since.as_nanos() }
            }
        }
    }
}

impl From<ActionRecord> for Action {
    fn from(action: ActionRecord) -> Self {
        let at = Timestamp::from_nanos;
        match action {
            ActionRecord::ClearCooldown { scope } => Self::ClearCooldown { scope: scope.into() },
            ActionRecord::DrainKey { key, until } => Self::DrainKey { key: KeyId::new(key), until: at(until) },
            ActionRecord::RetireKey { key } => Self::RetireKey { key: KeyId::new(key) },
            ActionRecord::RestoreKey { key } => Self::RestoreKey { key: KeyId::new(key) },
            ActionRecord::SetUsed { project, upstream, requests } => {
                Self::SetUsed { project: ProjectId::new(project), upstream: UpstreamId::new(upstream), requests }
            }
            ActionRecord::SkipTier { tier, until } => Self::SkipTier { tier: TierId::new(tier), until: at(until) },
            ActionRecord::PinTier { tier, until } => Self::PinTier { tier: TierId::new(tier), until: at(until) },
            ActionRecord::FreeTier { tier } => Self::FreeTier { tier: TierId::new(tier) },
            ActionRecord::StopPaid { until } => Self::StopPaid { until: at(until) },
            ActionRecord::SetBudget { tier, budget } => {
                Self::SetBudget { tier: TierId::new(tier), budget: Usd::from_micros(budget) }
            }
            ActionRecord::SetClientBudget { client, budget } => {
                Self::SetClientBudget { client: ClientId::new(client), budget: Usd::from_micros(budget) }
            }
            ActionRecord::ForgetLimits { project, upstream } => {
                Self::ForgetLimits { project: ProjectId::new(project), upstream: UpstreamId::new(upstream) }
            }
            ActionRecord::PowerLost { at_risk, since } => {
                Self::PowerLost { at_risk: AtRisk::from_ppm(at_risk), since: at(since) }
            }
        }
    }
}

/// Endpoint, priority and streaming in one byte: bits 0-1, 2-3 and 4.
pub(super) fn shape(endpoint: Endpoint, priority: Priority, stream: bool) -> u8 {
    let endpoint = match endpoint {
        Endpoint::Generate => 0,
        Endpoint::Embed => 1,
        Endpoint::Count => 2,
    };
    endpoint | priority_code(priority) << 2 | u8::from(stream) << 4
}

/// The way back from [`shape`]; `None` for a byte that it never gives.
pub(super) fn unshape(shape: u8) -> Option<(Endpoint, Priority, bool)> {
    let endpoint = match shape & 3 {
        0 => Endpoint::Generate,
        1 => Endpoint::Embed,
        2 => Endpoint::Count,
        _unused => return None,
    };
    let priority = priority_of(shape >> 2 & 3)?;
    (shape < 1 << 5).then_some((endpoint, priority, shape >> 4 == 1))
}

pub(super) fn priority_code(priority: Priority) -> u8 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

pub(super) fn priority_of(code: u8) -> Option<Priority> {
    match code {
        0 => Some(Priority::Low),
        1 => Some(Priority::Normal),
        2 => Some(Priority::High),
        _unused => None,
    }
}
