//! `stormproof status` and `stormproof order`: looking at a running proxy, and telling it what to do.

use std::fmt::Write;

use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Map, Value};
use stormproof_router::proxy::{AdminClient, AdminError, Order, Status};

use crate::failure::Failure;
use crate::outcome::{print, running};

/// Where the admin token is looked for.
const TOKEN_VARIABLE: &str = "STORMPROOF_ADMIN";

/// Which proxy is meant.
#[derive(ClapArgs)]
struct Admin {
    /// The proxy's admin listener; its token is read from STORMPROOF_ADMIN
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4001")]
    admin: String,
}

/// Show what an operator needs at 5 a.m., from the running proxy
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: Admin,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Give the running proxy an order, which is recorded with its author
///
/// Orders: clear-cooldown [key=K] [upstream=M] [provider=P]; drain-key key=K; retire-key key=K; restore-key key=K;
/// set-used key=K upstream=M requests=N; skip-tier tier=T; pin-tier tier=T; free-tier tier=T; stop-paid; resume-paid;
/// set-budget tier=T usd=N; set-client-budget client=C usd=N; forget-limits key=K upstream=M
#[derive(ClapArgs)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    admin: Admin,
    /// What to do
    order: String,
    /// What it is about, as `name=value`
    about: Vec<String>,
    /// For how long, such as `1h`; until taken back unless given
    #[arg(long = "for", value_name = "TIME")]
    period: Option<String>,
    /// Who says so
    #[arg(long, env = "USER")]
    author: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let status = ask(&args.admin, async |client| client.status().await)?;
    match args.format {
        Format::Json => print(&serde_json::to_string_pretty(&status).map_err(running)?),
        Format::Text => print(text(&status).trim_end()),
    }
}

pub(crate) fn order(args: &OrderArgs) -> Result<(), Failure> {
    let order = read_order(args)?;
    ask(&args.admin, async |client| client.act(&order).await)?;
    print("done, and on record")
}

/// The order that the words mean.
fn read_order(args: &OrderArgs) -> Result<Order, Failure> {
    let mut fields = Map::new();
    fields.insert("do".to_owned(), args.order.as_str().into());
    fields.insert("author".to_owned(), args.author.as_str().into());
    if let Some(period) = &args.period {
        fields.insert("for".to_owned(), period.as_str().into());
    }
    for pair in &args.about {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Input(format!("`{pair}` is not `name=value`, such as `tier=paid-pro`")))?;
        let number = if matches!(name, "usd" | "requests") { serde_json::from_str::<Value>(value).ok() } else { None };
        fields.insert(name.to_owned(), number.unwrap_or_else(|| value.into()));
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| Failure::Input(format!("this is no order: {error}")))
}

/// Asks the proxy.
fn ask<T>(admin: &Admin, question: impl AsyncFnOnce(&AdminClient) -> Result<T, AdminError>) -> Result<T, Failure> {
    let token = std::env::var(TOKEN_VARIABLE).map_err(|_unset| {
        Failure::Input(format!("set {TOKEN_VARIABLE} to the admin token that the proxy's configuration names"))
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = AdminClient::new(&admin.admin, &token.into()).map_err(Failure::input)?;
        question(&client).await.map_err(running)
    })
}

/// The picture in words: what is wrong first.
fn text(status: &Status) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let line = &mut |line: String| {
        let _done = writeln!(out, "{line}");
    };
    line(format!(
        "{}: {} requests open, {} waiting, {} attempts in flight",
        status.now, status.requests, status.waiting, status.attempts
    ));
    if let Some(problem) = &status.log_problem {
        line(format!("EVENT LOG: {problem}"));
    }
    section(line, "attention", &status.attention);
    for model in &status.models {
        let by = model.served_by.as_ref().map_or(String::new(), |tier| format!(", served by {tier}"));
        let left = model.left_today.map_or(String::new(), |left| format!(", {left} requests left today"));
        let out_at = model.runs_out.as_ref().map_or(String::new(), |at| format!(", used up at {at}"));
        let asked = model.requests.values().sum::<u64>();
        let answered = model.requests.get("answered").copied().unwrap_or_default();
        line(format!("model {}: {}{by}; {answered} of {asked} answered{left}{out_at}", model.name, model.state));
    }
    for tier in &status.tiers {
        let left = tier.left_today.map_or(String::new(), |left| format!(", {left} requests left today"));
        let out_at = tier.runs_out.as_ref().map_or(String::new(), |at| format!(", used up at {at}"));
        let budget = tier.budget_usd.map_or(String::new(), |budget| format!(" of {budget:.2}"));
        line(format!(
            "tier {} ({}): {} of {} usable, {} in flight, {:.1} rpm wanted{left}{out_at}; {:.2}{budget} USD today",
            tier.name, tier.upstream, tier.usable, tier.deployments, tier.in_flight, tier.demand_rpm, tier.spent_usd
        ));
    }
    for trouble in &status.troubles {
        let since = trouble.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
        let until = trouble.until.as_ref().map_or(String::new(), |until| format!(" until {until}"));
        line(format!(
            "{}: {}{since}{until}; fault: {}; says {}",
            trouble.what, trouble.cause, trouble.fault, trouble.says
        ));
    }
    line(format!(
        "spent today {:.2} USD{}, expected by the reset at {}: {:.2} USD",
        status.spent_today_usd,
        assumed(status.assumed_today_usd),
        status.resets,
        status.expected_today_usd
    ));
    section(line, "next", &status.next);
    out
}

/// How much of an amount is the worst case of calls that broke off, where that can be seen.
fn assumed(usd: f64) -> String {
    if usd < 0.005 {
        String::new()
    } else {
        format!(" ({usd:.2} of it the most that calls which broke off can have cost)")
    }
}

fn section(line: &mut impl FnMut(String), title: &str, entries: &[String]) {
    if !entries.is_empty() {
        line(format!("{title}:"));
        entries.iter().for_each(|entry| line(format!("  {entry}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_from_words() {
        let args = OrderArgs {
            admin: Admin { admin: String::new() },
            order: "set-budget".into(),
            about: vec!["tier=paid-pro".into(), "usd=80".into()],
            period: None,
            author: "mia".into(),
        };
        let order = serde_json::to_value(read_order(&args).expect("an order")).expect("JSON");
        assert_eq!(order, serde_json::json!({"do": "set-budget", "tier": "paid-pro", "usd": 80.0, "author": "mia"}));
        let wrong = OrderArgs { about: vec!["paid-pro".into()], ..args };
        assert!(matches!(read_order(&wrong), Err(Failure::Input(_))));
    }
}
