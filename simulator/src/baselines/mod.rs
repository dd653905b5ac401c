//! Other routers behind the same [`Route`](stormproof_router::core::Route) trait, so that what they would have done on
//! a day can be compared with what ours does.

pub mod litellm;
