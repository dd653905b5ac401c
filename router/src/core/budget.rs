//! Day budgets that hold in the worst case: an attempt is dispatched only if what is spent, what is reserved and what it
//! may cost at most fit together.
//!
//! Beside the hard limit a dual controller keeps a budget from being spent by noon: while money goes faster than what
//! is left would last until the reset, its shadow price `lambda` rises, and requests are more patient with cheaper tiers.

use serde::{Deserialize, Serialize};

use super::facts::Usage;
use super::input::TokenEstimate;
use super::settings::{Price, Tier, TokenPrice};
use super::spill::Trailing;
use super::time::{Duration, Timestamp};
use super::units::{Tokens, Usd};

/// The longest answer of any model known, for tiers that do not say.
const OUTPUT_MAX: Tokens = Tokens::new(65_536);
/// How fast the controller moves: by its own error, once in this time.
const CONTROL_TIME: Duration = Duration::from_secs(600);
const LAMBDA_MAX: f64 = 10.0;

/// Money of one quota day, of a tier or a client.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Purse {
    /// What the settings allow a day.
    pub(super) configured: Option<Usd>,
    /// What an operator allows today, and which day that is.
    raised: Option<(u32, Usd)>,
    day: u32,
    spent: Usd,
    /// The part of it that nobody has confirmed: calls that broke off before the provider said what they used.
    assumed: Usd,
    reserved: Usd,
    rate: Trailing,
    lambda: f64,
    controlled: Timestamp,
}

impl Purse {
    /// The budget of the running day.
    pub(super) fn budget(&self, day: u32) -> Option<Usd> {
        match self.raised {
            Some((raised_on, budget)) if raised_on == day => Some(budget),
            Some(_) | None => self.configured,
        }
    }

    /// Whether so much more fits into the day.
    pub(super) fn fits(&self, worst: Usd, day: u32) -> bool {
        self.budget(day).is_none_or(|budget| self.spent(day) + self.reserved + worst <= budget)
    }

    /// When so much may fit: `soon` if it is only set aside for attempts in flight, which rarely cost their worst case;
    /// else when the day `ends`; `None` if it is more than a whole day's budget.
    pub(super) fn fits_at(&self, worst: Usd, day: u32, soon: Timestamp, ends: Timestamp) -> Option<Timestamp> {
        let budget = self.budget(day)?;
        if self.spent(day) + worst <= budget {
            return Some(soon.min(ends));
        }
        (worst <= self.configured.unwrap_or(budget)).then_some(ends)
    }

    /// Spent today.
    pub(super) fn spent(&self, day: u32) -> Usd {
        if self.day == day { self.spent } else { Usd::ZERO }
    }

    /// The part of what is spent today that is the worst case of calls which did not say what they used.
    pub(super) fn assumed(&self, day: u32) -> Usd {
        if self.day == day { self.assumed } else { Usd::ZERO }
    }

    /// Set aside for attempts in flight.
    pub(super) fn reserved(&self) -> Usd {
        self.reserved
    }

    /// How much dearer money is than its face value.
    pub(super) fn lambda(&self) -> f64 {
        self.lambda
    }

    /// An operator's budget for today.
    pub(super) fn raise(&mut self, budget: Usd, day: u32) {
        self.raised = Some((day, budget));
    }

    /// Sets money aside.
    pub(super) fn reserve(&mut self, worst: Usd) {
        self.reserved += worst;
    }

    /// Turns what was set aside into what it cost. An attempt that crosses midnight is the new day's: its reservation
    /// was carried over, so the new day's budget has room for it.
    pub(super) fn settle(&mut self, now: Timestamp, worst: Usd, cost: Usd, day: u32, day_ends: Timestamp) {
        self.reserved -= worst;
        (self.spent, self.assumed) = (self.spent(day) + cost, self.assumed(day));
        self.day = day;
        if self.budget(day).is_some() && cost > Usd::ZERO {
            self.rate.add(now, cost.as_micros().unsigned_abs());
            self.control(now, day, day_ends);
        }
    }

    /// Notes that so much of what was just settled is the worst case and not the provider's word.
    pub(super) fn assume(&mut self, part: Usd) {
        self.assumed += part;
    }

    /// Takes as spent what may have been spent unseen, `most` at most and no more than what is left: nobody would have
    /// spent that. Says how much it is.
    pub(super) fn charge_unseen(&mut self, most: Usd, day: u32) -> Usd {
        let left = self.budget(day).map_or(Usd::ZERO, |budget| budget - self.spent(day) - self.reserved);
        let charged = most.min(left).max(Usd::ZERO);
        (self.spent, self.assumed) = (self.spent(day) + charged, self.assumed(day) + charged);
        self.day = day;
        charged
    }

    fn control(&mut self, now: Timestamp, day: u32, day_ends: Timestamp) {
        let Some(budget) = self.budget(day) else { return };
        let left = (budget - self.spent(day)).as_micros().max(0) as f64;
        let seconds = day_ends.since(now).as_secs_f64().max(1.0);
        let target = (left / seconds).max(1e-9);
        let error = (self.rate.per_second(now) / target - 1.0).clamp(-1.0, 1.0);
        let step = now.since(self.controlled).as_secs_f64() / CONTROL_TIME.as_secs_f64();
        self.lambda = (self.lambda + step.min(1.0) * error).clamp(0.0, LAMBDA_MAX);
        self.controlled = now;
    }
}

impl Price {
    /// What this use costs; `answered` is whether there was a complete answer.
    pub fn cost(&self, usage: Usage, answered: bool) -> Usd {
        let prices = match self.above {
            Some((threshold, above)) if usage.input > threshold => above,
            Some(_) | None => self.tokens,
        };
        let cached = usage.cached.min(usage.input);
        let fresh = Tokens::new(usage.input.get() - cached.get());
        prices.of(fresh, cached, usage.output) + if answered { self.answer } else { Usd::ZERO }
    }

    /// Whether nothing is ever to be paid.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }
}

impl TokenPrice {
    fn of(&self, input: Tokens, cached: Tokens, output: Tokens) -> Usd {
        let parts = [(self.input, input), (self.cached, cached), (self.output, output)];
        // Rounded up: a budget must not leak by fractions of a micro-dollar. Most sums fit into a word, which is counted
        // and divided much faster.
        let in_a_word = parts.iter().try_fold(999_999_i64, |picos, (price, tokens)| {
            picos.checked_add(price.as_micros().checked_mul(i64::from(tokens.get()))?)
        });
        let micros = in_a_word.map(|picos| picos.div_euclid(1_000_000)).unwrap_or_else(|| {
            let part = |(price, tokens): (Usd, Tokens)| i128::from(price.as_micros()) * i128::from(tokens.get());
            let picos = 999_999 + parts.into_iter().map(part).sum::<i128>();
            i64::try_from(picos.div_euclid(1_000_000)).unwrap_or(i64::MAX)
        });
        Usd::from_micros(micros)
    }
}

/// The most that a request can cost on a tier.
pub(super) fn worst_case(tier: &Tier, tokens: TokenEstimate) -> Usd {
    let output = longest_answer(tier, tokens);
    let usage = Usage { input: tokens.input, cached: Tokens::ZERO, output };
    // A cached token could be priced above a fresh one only by mistake, and a threshold only ever raises prices; taking
    // the dearer of both readings costs nothing and holds in either case.
    let plain = tier.price.tokens.of(usage.input, usage.cached, usage.output) + tier.price.answer;
    if tier.price.above.is_some() { tier.price.cost(usage, true).max(plain) } else { plain }
}

/// What a request is likely to cost on a tier, to compare tiers by: its own sizes, with a quarter of the longest answer.
pub(super) fn likely_cost(tier: &Tier, tokens: TokenEstimate) -> Usd {
    if tier.price.is_free() {
        return Usd::ZERO;
    }
    let output = Tokens::new(longest_answer(tier, tokens).get() / 4);
    tier.price.cost(Usage { input: tokens.input, cached: Tokens::ZERO, output }, true)
}

fn longest_answer(tier: &Tier, tokens: TokenEstimate) -> Tokens {
    let model = tier.output_max.unwrap_or(OUTPUT_MAX);
    tokens.output_max.map_or(model, |asked| asked.min(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(dollars: i64) -> Usd {
        Usd::from_micros(dollars * 1_000_000)
    }

    fn price() -> Price {
        let tokens = TokenPrice { input: dollars(2), cached: dollars(1), output: dollars(10) };
        let above = TokenPrice { input: dollars(4), cached: dollars(2), output: dollars(15) };
        Price { tokens, above: Some((Tokens::new(200_000), above)), answer: Usd::ZERO }
    }

    fn usage(input: u32, cached: u32, output: u32) -> Usage {
        Usage { input: Tokens::new(input), cached: Tokens::new(cached), output: Tokens::new(output) }
    }

    #[test]
    fn the_threshold_reprices_the_whole_call_and_cached_tokens_count_towards_it() {
        assert_eq!(price().cost(usage(200_000, 0, 1000), true), Usd::from_micros(410_000));
        assert_eq!(price().cost(usage(200_001, 100_000, 1000), true), Usd::from_micros(400_004 + 200_000 + 15_000));
        assert_eq!(price().cost(usage(1, 0, 0), true), Usd::from_micros(2));
    }

    #[test]
    fn a_price_per_answer_is_paid_for_answers_only() {
        let price = Price { answer: dollars(10), ..Price::default() };
        assert_eq!(price.cost(usage(5, 0, 5), true), dollars(10));
        assert_eq!(price.cost(usage(5, 0, 5), false), Usd::ZERO);
    }

    #[test]
    fn what_is_reserved_counts_and_is_given_back() {
        let mut purse = Purse { configured: Some(dollars(10)), ..Purse::default() };
        let (now, ends) = (Timestamp::ZERO, Timestamp::ZERO + Duration::from_secs(86_400));
        purse.reserve(dollars(6));
        assert!(purse.fits(dollars(4), 0) && !purse.fits(dollars(5), 0));
        let soon = now + Duration::from_secs(5);
        let fits_at = |worst| purse.fits_at(worst, 0, soon, ends);
        assert_eq!((fits_at(dollars(10)), fits_at(dollars(11))), (Some(soon), None));
        purse.settle(now, dollars(6), dollars(1), 0, ends);
        assert!(purse.fits(dollars(9), 0) && !purse.fits(dollars(10), 0));
        assert_eq!(purse.fits_at(dollars(10), 0, soon, ends), Some(ends), "a dollar is spent for good");
        purse.assume(dollars(1));
        assert_eq!((purse.assumed(0), purse.assumed(1)), (dollars(1), Usd::ZERO));
        assert!(purse.fits(dollars(10), 1), "a new day");
        purse.raise(dollars(20), 0);
        assert!(purse.fits(dollars(19), 0) && !purse.fits(dollars(20), 0) && !purse.fits(dollars(11), 1));
    }

    #[test]
    fn money_grows_dear_while_it_goes_too_fast() {
        let mut purse = Purse { configured: Some(dollars(100)), ..Purse::default() };
        let ends = Timestamp::ZERO + Duration::from_secs(86_400);
        for minute in 1..=10 {
            let now = Timestamp::ZERO + Duration::from_secs(minute * 60);
            purse.reserve(dollars(1));
            purse.settle(now, dollars(1), dollars(1), 0, ends);
        }
        assert!(purse.lambda() > 0.5, "ten dollars in ten minutes of a day: {}", purse.lambda());
    }
}
