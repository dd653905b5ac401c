//! Looks at every deployment of a tier and picks the best.
//!
//! Between two decisions nothing changes about most deployments, so each has a [`Row`] that keeps what the last look
//! found: until a send leaves its window, its quota is touched, or somebody speaks against it. Rows follow from the
//! state and are no part of it, and looking changes nothing that a snapshot shows: a router that has just been restored
//! and knows no row decides alike.

use std::collections::VecDeque;

use super::cooldown::Gate;
use super::decide::{Offer, Pick, later};
use super::draw::draw;
use super::ids::{DeploymentId, TierId};
use super::knobs::{ChargeErrors, Knobs};
use super::output::Cause;
use super::plan::{ENDPOINTS, Plan, endpoint_offset};
use super::quota::{Quota, Room, Rules};
use super::router::{Router, STREAM_TIES};
use super::select::{Ballot, Candidate, ballot_bits, is_by_headroom};
use super::state::{KeyState, Probes, Request, Site};
use super::time::{Duration, Timestamp};

/// What was last seen of all deployments, for every tier and kind of call.
#[derive(Clone, Debug, Default)]
pub(super) struct Sheets {
    sheets: Vec<Sheet>,
    /// Where each quota and each key is read.
    quota_readers: Readers,
    key_readers: Readers,
}

/// By arena index: sheets and rows.
#[derive(Clone, Debug, Default)]
struct Readers(Vec<Vec<(u32, u32)>>);

#[derive(Clone, Debug, Default)]
struct Sheet {
    reading: Option<Reading>,
    members: Vec<Member>,
    /// What was seen of each, and how long that stands.
    looks: Vec<Look>,
    rows: Vec<Row>,
    /// All rows stand until then, but for those that are marked, and for calls as long as this.
    stands: Row,
    /// Rows that were spoken against since the last look.
    marked: Vec<u32>,
    /// When sends leave their windows, and whose; in order, for all windows are of one length.
    leaving: VecDeque<(Timestamp, u32)>,
    /// Headroom times weight of those that may be used, [`CLOSED`] for the others.
    headroom: Vec<f64>,
    /// What most decisions are made from.
    top: Top,
    /// Whether all members have one order.
    one_order: bool,
}

/// Less than any headroom.
const CLOSED: f64 = -1.0;

/// The most headroom of all rows, and which have it.
#[derive(Clone, Debug)]
struct Top {
    most: f64,
    /// A bit for each row.
    rows: Vec<u64>,
}

/// How quotas were read; what was read in another way says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    day: u32,
    day_ends: Timestamp,
    count_errors: bool,
}

/// One deployment: the others are arena indexes.
#[derive(Clone, Copy, Debug)]
struct Member {
    deployment: DeploymentId,
    key: u32,
    quota: u32,
    site: u32,
    weight: f64,
    order: u8,
}

/// How long a look stands, until somebody speaks against it or a send leaves the window.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// [`Timestamp::ZERO`] when the deployment must be looked at each time.
    stale_at: Timestamp,
    /// The longest call that it stands for.
    tokens_left: u64,
}

/// What a look at one deployment finds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    /// It may be used, as a probe where `probes` says so.
    Free {
        headroom: f64,
        tokens_left: u64,
        probes: Probes,
        /// Whether it has room only because failed calls are taken not to count.
        contested: bool,
    },
    /// Its quota is used up until then.
    Full {
        until: Timestamp,
        cause: Cause,
        probes: Probes,
        /// Whether one marked probe may ask if failed calls count.
        asks: bool,
    },
    /// Its key rests until then.
    Rests {
        until: Timestamp,
        cause: Cause,
        probes: Probes,
        /// Whether only soft facts speak against it, and its quota has room.
        soft: bool,
        room: bool,
    },
    /// It is drained, or its quota rests.
    Shut(Timestamp, Cause),
}

/// One search through a tier's deployments.
struct Search<'a> {
    ballot: Ballot,
    /// What any attempt on the tier would probe.
    probes: Probes,
    /// The key that the request has just failed on.
    failed_key: Option<u32>,
    quotas: &'a [Quota],
    sites: &'a [Site],
    best: Option<Best>,
    /// What opens first of all that is closed.
    first: (Timestamp, Cause),
    /// Deployments whose quota is all that may be in the way.
    open: u32,
    /// Deployments that rest for soft reasons alone, and the one with room that rests shortest.
    soft: u32,
    shortest: Option<(Timestamp, Pick)>,
}

/// The best deployment so far. Lower ranks win, then higher scores, then higher bits.
#[derive(Clone, Copy, Debug)]
struct Best {
    pick: Pick,
    rank: Rank,
    order: u8,
    score: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Usual,
    /// The key that the request has just failed on.
    SameKey,
    /// A probe of whether failed calls count.
    Learning,
}

impl Sheets {
    /// Blank sheets for these settings; `quotas` and the length of their windows say when sends will leave.
    pub(super) fn lay_out(plan: &Plan, quotas: &[Quota], window: Duration) -> Self {
        let mut sheets = Self::default();
        for tier in &plan.tiers {
            for offset in 0..ENDPOINTS {
                let mut sheet = Sheet::default();
                sheet.marked.reserve_exact(tier.deployments.len());
                for &deployment in &tier.deployments {
                    let place = plan.places[deployment.index()];
                    let spec = plan.settings.deployments[deployment.index()];
                    let (key, quota, site) = (place.key, place.quota + offset, place.site);
                    let place = (sheets.sheets.len() as u32, sheet.rows.len() as u32);
                    sheets.quota_readers.add(quota, place);
                    sheets.key_readers.add(key, place);
                    sheet.leaving.extend(quotas[quota as usize].leaving(window).map(|at| (at, place.1)));
                    sheet.add(Member {
                        deployment,
                        key,
                        quota,
                        site,
                        weight: f64::from(spec.weight.max(1)),
                        order: spec.order,
                    });
                }
                sheet.leaving.make_contiguous().sort_unstable();
                sheets.sheets.push(sheet);
            }
        }
        sheets
    }

    /// A call was sent on a quota, whose window it leaves at `leaves`.
    pub(super) fn sent(&mut self, now: Timestamp, quota: u32, leaves: Timestamp) {
        for &(sheet, row) in self.quota_readers.of(quota) {
            let sheet = &mut self.sheets[sheet as usize];
            // Somebody else's tier may be all that is looked at.
            sheet.let_leave(now);
            sheet.mark(row);
            sheet.leaving.push_back((leaves, row));
        }
    }

    /// A quota or its cooldown has changed otherwise than by time alone.
    pub(super) fn touch_quota(&mut self, quota: u32) {
        for &(sheet, row) in self.quota_readers.of(quota) {
            self.sheets[sheet as usize].mark(row);
        }
    }

    /// A key's cooldown has changed otherwise than by time alone.
    pub(super) fn touch_key(&mut self, key: u32) {
        for &(sheet, row) in self.key_readers.of(key) {
            self.sheets[sheet as usize].mark(row);
        }
    }
}

impl Readers {
    fn add(&mut self, owner: u32, place: (u32, u32)) {
        let owner = owner as usize;
        if self.0.len() <= owner {
            self.0.resize_with(owner + 1, Vec::new);
        }
        self.0[owner].push(place);
    }

    fn of(&self, owner: u32) -> &[(u32, u32)] {
        self.0.get(owner as usize).map_or(&[], Vec::as_slice)
    }
}

impl Sheet {
    fn add(&mut self, member: Member) {
        self.one_order = self.members.iter().all(|other| other.order == member.order);
        self.members.push(member);
        self.looks.push(Look::Shut(Timestamp::MAX, Cause::None));
        self.rows.push(Row::STALE);
        self.headroom.push(CLOSED);
        self.top.take(&self.headroom);
    }

    /// Something was said against what a row says.
    fn mark(&mut self, row: u32) {
        self.rows[row as usize] = Row::STALE;
        if self.marked.len() < self.members.len() {
            self.marked.push(row);
        } else {
            self.stands = Row::STALE;
        }
    }

    /// Marks the rows whose windows sends have left.
    #[inline]
    fn let_leave(&mut self, now: Timestamp) {
        while let Some(&(leaves, row)) = self.leaving.front()
            && leaves <= now
        {
            self.leaving.pop_front();
            self.mark(row);
        }
    }

    /// Looks wherever the last look does not stand any more for a call of so many tokens.
    fn refresh(&mut self, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) {
        if self.reading != Some(view.reading) {
            self.reading = Some(view.reading);
            self.rows.fill(Row::STALE);
            self.stands = Row::STALE;
        }
        self.let_leave(view.now);
        if self.stands.stands(view) {
            while let Some(row) = self.marked.pop() {
                let row = self.look(row as usize, view, quotas, keys);
                self.stands = self.stands.and(row);
            }
            return;
        }
        self.marked.clear();
        let mut stands = Row::FOREVER;
        for index in 0..self.rows.len() {
            let row = self.rows[index];
            let row = if row.stands(view) { row } else { self.look(index, view, quotas, keys) };
            stands = stands.and(row);
        }
        self.stands = stands;
    }

    /// Looks at one deployment, and says how long that stands.
    fn look(&mut self, index: usize, view: &View<'_>, quotas: &mut [Quota], keys: &[KeyState]) -> Row {
        let Member { key, quota, weight, .. } = self.members[index];
        let (look, row) = view.see(&mut quotas[quota as usize], &keys[key as usize]);
        let headroom = if let Look::Free { headroom, .. } = look { headroom * weight } else { CLOSED };
        self.headroom[index] = headroom;
        if !self.top.note(index, headroom) {
            self.top.take(&self.headroom);
        }
        (self.looks[index], self.rows[index]) = (look, row);
        row
    }

    /// Of those that may be used and are chosen by headroom alone, the one that has most of it; the decision's bits choose
    /// where several have.
    fn roomiest(&self, failed_key: Option<u32>, decision: u64) -> Option<usize> {
        if self.top.most == CLOSED {
            return None;
        }
        let failed_key = failed_key.unwrap_or(u32::MAX);
        let (mut best, mut found) = (0, None);
        for (word, rows) in self.top.rows.iter().enumerate() {
            let mut rows = *rows;
            while rows != 0 {
                let index = word * 64 + rows.trailing_zeros() as usize;
                rows &= rows - 1;
                let Member { deployment, key, .. } = self.members[index];
                let bits = ballot_bits(decision, deployment);
                if bits >= best && key != failed_key {
                    (best, found) = (bits, Some(index));
                }
            }
        }
        found.or_else(|| self.second(failed_key, decision))
    }

    /// The same, where the failed key alone has most.
    fn second(&self, failed_key: u32, decision: u64) -> Option<usize> {
        let others =
            || self.members.iter().zip(&self.headroom).enumerate().filter(|(_, (member, _))| member.key != failed_key);
        let most = others().fold(CLOSED, |most, (_, (_, own))| if *own > most { *own } else { most });
        let tied = others().filter(|(_, (_, own))| **own == most && most > CLOSED);
        tied.max_by_key(|(_, (member, _))| ballot_bits(decision, member.deployment)).map(|(index, _)| index)
    }

    /// A deployment that may be used, with what an attempt would probe there beside `probes`.
    fn pick(&self, index: usize, probes: Probes) -> Pick {
        let deployment = self.members[index].deployment;
        let (own, contested) = match self.looks[index] {
            Look::Free { probes, contested, .. } => (probes, contested),
            Look::Full { .. } | Look::Rests { .. } | Look::Shut(..) => (Probes::default(), false),
        };
        Pick { deployment, probes: probes.with(own), panic: None, contested }
    }
}

impl Top {
    /// Looks at all rows.
    fn take(&mut self, headroom: &[f64]) {
        let most = headroom.iter().fold(CLOSED, |most, own| if *own > most { *own } else { most });
        let bits = |rows: &[f64]| rows.iter().rev().fold(0, |bits, own| bits << 1 | u64::from(*own == most));
        self.most = most;
        self.rows.clear();
        self.rows.extend(headroom.chunks(64).map(bits));
    }

    /// Notes a row's headroom; false when it was the last one at the top and is not any more.
    fn note(&mut self, index: usize, headroom: f64) -> bool {
        let (word, bit) = (index / 64, 1 << (index % 64));
        if headroom == self.most {
            self.rows[word] |= bit;
            return true;
        }
        self.rows[word] &= !bit;
        if headroom > self.most {
            self.rows.fill(0);
            (self.most, self.rows[word]) = (headroom, bit);
        }
        self.rows.iter().any(|rows| *rows != 0)
    }
}

impl Default for Top {
    fn default() -> Self {
        Self { most: CLOSED, rows: Vec::new() }
    }
}

impl Row {
    /// One that says nothing.
    const STALE: Self = Self { stale_at: Timestamp::ZERO, tokens_left: 0 };
    const FOREVER: Self = Self { stale_at: Timestamp::MAX, tokens_left: u64::MAX };

    fn stands(&self, view: &View<'_>) -> bool {
        view.now < self.stale_at && u64::from(view.tokens) <= self.tokens_left
    }

    /// As long as both stand.
    fn and(self, other: Self) -> Self {
        Self { stale_at: self.stale_at.min(other.stale_at), tokens_left: self.tokens_left.min(other.tokens_left) }
    }
}

impl Router {
    /// Looks at every deployment of a tier and picks the best.
    pub(super) fn scan(&mut self, now: Timestamp, request: &Request, tier: TierId, probes: Probes) -> Offer {
        let rules = self.rules();
        let offset = endpoint_offset(request.endpoint);
        let plan = &self.plan.tiers[tier.index()];
        let node = plan.node + offset;
        let settings = &*self.plan.settings;
        let knobs = &settings.knobs;
        let count_errors = self.nodes[node as usize].charging.counts(knobs.rate_charge_errors);
        let (cursor, members) = (self.tiers[plan.owner as usize].cursor, plan.deployments.len() as u32);
        let decision = draw(settings.seed, STREAM_TIES, request.id.get(), u64::from(request.attempts));
        let ballot = Ballot { strategy: knobs.select_strategy, decision, cursor, members, count_errors };
        let reading = Reading { day: rules.day, day_ends: rules.day_ends, count_errors };
        let view = View { now, tokens: request.tokens.input.get(), reading, rules: &rules, knobs };
        let sheet = &mut self.sheets.sheets[tier.index() * ENDPOINTS as usize + offset as usize];
        sheet.refresh(&view, &mut self.quotas, &self.keys);
        debug_assert!(view.agrees(sheet, &mut self.quotas, &self.keys), "a look was kept too long");

        let failed_key = request.failures.key;
        let quick = if sheet.one_order && is_by_headroom(knobs.select_strategy) {
            sheet.roomiest(failed_key, decision).map(|index| sheet.pick(index, probes))
        } else {
            None
        };
        let found = match quick {
            Some(pick) => Ok(pick),
            None => sheet.search(ballot, probes, failed_key, (&self.quotas, &self.sites), knobs.panic_fraction),
        };
        debug_assert_eq!(
            found,
            sheet.search(ballot, probes, failed_key, (&self.quotas, &self.sites), knobs.panic_fraction),
            "the short way leads elsewhere"
        );
        match found {
            Ok(pick) if request.failures.node == Some(node) => Offer::Ready(pick, request.failures.back_until.max(now)),
            Ok(pick) => Offer::Ready(pick, now),
            Err((until, cause)) => later(until, cause),
        }
    }
}

impl Sheet {
    /// Weighs all that were looked at. Where none may be used, what opens first.
    #[inline(never)]
    fn search(
        &self,
        ballot: Ballot,
        probes: Probes,
        failed_key: Option<u32>,
        (quotas, sites): (&[Quota], &[Site]),
        panic_fraction: f64,
    ) -> Result<Pick, (Timestamp, Cause)> {
        let mut search = Search {
            ballot,
            probes,
            failed_key,
            quotas,
            sites,
            best: None,
            first: (Timestamp::MAX, Cause::Dead),
            open: 0,
            soft: 0,
            shortest: None,
        };
        for (index, (member, look)) in self.members.iter().zip(&self.looks).enumerate() {
            if search.best.is_some_and(|best| best.rank == Rank::Usual && best.order < member.order) {
                break;
            }
            search.consider(index as u32, member, look);
        }
        search.best.map(|best| best.pick).or(search.panic(panic_fraction)).ok_or(search.first)
    }
}

impl Search<'_> {
    /// Weighs a deployment, or notes what is in its way.
    fn consider(&mut self, index: u32, member: &Member, look: &Look) {
        let (until, cause) = match *look {
            Look::Free { headroom, probes, contested, tokens_left: _ } => {
                let rank = if self.failed_key == Some(member.key) { Rank::SameKey } else { Rank::Usual };
                self.open += 1;
                return self.weigh(index, member, rank, headroom * member.weight, (probes, contested));
            }
            Look::Full { probes, asks: true, .. } if !probes.any() && !self.probes.any() => {
                let probes = Probes { charging: true, ..probes };
                self.open += 1;
                return self.weigh(index, member, Rank::Learning, 0.0, (probes, true));
            }
            Look::Full { until, cause, .. } => {
                self.open += 1;
                (until, cause)
            }
            Look::Rests { until, cause, probes, soft, room } => {
                self.soft += u32::from(soft);
                if soft && room && self.shortest.is_none_or(|(shortest, _)| until < shortest) {
                    self.shortest = Some((until, self.pick(member, probes, false)));
                }
                (until, cause)
            }
            Look::Shut(until, cause) => (until, cause),
        };
        // Seldom sooner than all before.
        if until <= self.first.0 && (until, cause) < self.first {
            self.first = (until, cause);
        }
    }

    fn weigh(&mut self, index: u32, member: &Member, rank: Rank, headroom: f64, (probes, contested): (Probes, bool)) {
        let &Member { deployment, quota, site, weight, order, .. } = member;
        let (quota, site) = (&self.quotas[quota as usize], &self.sites[site as usize]);
        let score = self.ballot.score(headroom, || Candidate { deployment, index, weight, quota, site });
        let beats = |best: Best| {
            if rank != best.rank {
                return rank < best.rank;
            }
            let wins_tie = || self.ballot.bits(deployment) > self.ballot.bits(best.pick.deployment);
            score > best.score || (score == best.score && wins_tie())
        };
        if self.best.is_none_or(beats) {
            self.best = Some(Best { pick: self.pick(member, probes, contested), rank, order, score });
        }
    }

    fn pick(&self, member: &Member, probes: Probes, contested: bool) -> Pick {
        Pick { deployment: member.deployment, probes: self.probes.with(probes), panic: None, contested }
    }

    /// The choice against soft cooldowns, where no other is left and too few deployments are open.
    fn panic(&self, fraction: f64) -> Option<Pick> {
        let (_, pick) = self.shortest?;
        let share = f64::from(self.open) / f64::from(self.open + self.soft);
        (share < fraction).then_some(Pick { panic: Some((share * 1e6) as u32), ..pick })
    }
}

/// How deployments are looked at for one decision.
struct View<'a> {
    now: Timestamp,
    tokens: u32,
    reading: Reading,
    rules: &'a Rules,
    knobs: &'a Knobs,
}

impl View<'_> {
    /// Looks at one deployment, and says how long that stands.
    #[inline]
    fn see(&self, quota: &mut Quota, key: &KeyState) -> (Look, Row) {
        // Of most there is nothing to ask but their room.
        if key.is_plain(self.now)
            && quota.cooldown.is_none()
            && !self.learns()
            && let Some((headroom, tokens_left)) =
                quota.free(self.now, self.tokens, self.reading.count_errors, self.rules)
        {
            let look = Look::Free { headroom, tokens_left, probes: Probes::default(), contested: false };
            return (look, Row { stale_at: Timestamp::MAX, tokens_left });
        }
        let look = self.look(quota, key);
        (look, self.keep(&look, quota, key))
    }

    /// Whether it is still open if failed calls count.
    fn learns(&self) -> bool {
        self.knobs.rate_charge_errors == ChargeErrors::Learn
    }

    /// Looks at one deployment.
    fn look(&self, quota: &mut Quota, key: &KeyState) -> Look {
        let View { now, tokens, reading: Reading { count_errors, .. }, rules, knobs } = *self;
        let mut probes = Probes::default();
        if key.drained > now {
            return Look::Shut(key.drained, Cause::Operator);
        }
        match quota.cooldown.gate(now, knobs.probe_concurrent) {
            Gate::Open => {}
            Gate::Probe => probes.quota = true,
            Gate::Closed(until, cause) => return Look::Shut(until, cause),
        }
        let room = quota.room(now, tokens, count_errors, rules);
        match key.cooldown.gate(now, knobs.probe_concurrent) {
            Gate::Open => {}
            Gate::Probe => probes.key = true,
            Gate::Closed(until, cause) => {
                let room = matches!(room, Room::Free { .. });
                return Look::Rests { until, cause, probes, soft: key.cooldown.is_soft(), room };
            }
        }
        let learns = self.learns();
        match room {
            Room::Free { headroom, tokens_left } => {
                let contested = learns && !count_errors && quota.is_contested(rules);
                Look::Free { headroom, tokens_left, probes, contested }
            }
            Room::Full { until, cause, count: _ } => {
                let may_ask = learns && count_errors && quota.next_learning <= now;
                let asks = may_ask && quota.has_room_but_for_errors(now, tokens, rules);
                Look::Full { until, cause, probes, asks }
            }
        }
    }

    /// How long a look stands. When a quota that limits tokens is full, its next room is a matter of the call's length,
    /// and whether failed calls count is asked anew each time.
    fn keep(&self, look: &Look, quota: &Quota, key: &KeyState) -> Row {
        let asks = self.learns() && quota.has_errors(self.rules);
        let by_tokens = match *look {
            Look::Free { .. } | Look::Shut(..) => false,
            Look::Full { cause, .. } => cause != Cause::RateDay && quota.limits_tokens(),
            Look::Rests { .. } => quota.limits_tokens(),
        };
        if asks || by_tokens {
            return Row::STALE;
        }
        let tokens_left = match *look {
            Look::Free { tokens_left, .. } => tokens_left,
            Look::Full { .. } | Look::Rests { .. } | Look::Shut(..) => u64::MAX,
        };
        let rests = key.cooldown.changes_at(self.now).min(quota.cooldown.changes_at(self.now));
        let drained = if key.drained > self.now { key.drained } else { Timestamp::MAX };
        Row { stale_at: rests.min(drained), tokens_left }
    }

    /// Whether fresh looks find what the sheet says.
    fn agrees(&self, sheet: &Sheet, quotas: &mut [Quota], keys: &[KeyState]) -> bool {
        sheet
            .members
            .iter()
            .zip(&sheet.looks)
            .all(|(member, kept)| self.look(&mut quotas[member.quota as usize], &keys[member.key as usize]) == *kept)
    }
}
