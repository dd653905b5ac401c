//! What the scenario says must hold, as JUnit XML: every build server shows it.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use stormproof_simulator::study::summary::Summary;

use crate::{Error, headline};

/// One test suite named after the scenario, one test case an expression.
///
/// # Errors
/// When the document cannot be written.
pub fn junit(summary: &Summary) -> Result<String, Error> {
    let mut suite = TestSuite::new(summary.scenario.as_str());
    suite.set_system_out(headline(summary).title);
    for result in &summary.pass {
        let status = if result.passed {
            TestCaseStatus::success()
        } else {
            let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failure.set_type("threshold");
            failure.set_message(match result.measured.as_str() {
                "" => "does not hold".to_owned(),
                measured => format!("measured {measured}"),
            });
            failure
        };
        let mut case = TestCase::new(result.expression.as_str(), status);
        case.set_classname(summary.scenario.as_str());
        suite.add_test_case(case);
    }
    let mut report = Report::new("stormproof");
    report.add_test_suite(suite);
    report.to_string().map_err(|error| Error::Document(error.to_string()))
}

#[cfg(test)]
mod tests {
    use stormproof_simulator::study::summary::PassResult;

    use super::*;

    #[test]
    fn every_expression_is_a_case_and_is_escaped() {
        let result = |expression: &str, passed| PassResult {
            expression: expression.to_owned(),
            passed,
            measured: "46.1%".to_owned(),
        };
        let summary = Summary {
            scenario: "expected-rotation".to_owned(),
            pass: vec![result("stormproof: longest_gap < 180s", true), result("litellm: success_rate >= 99%", false)],
            ..Summary::default()
        };
        insta::assert_snapshot!(junit(&summary).unwrap());
    }
}
