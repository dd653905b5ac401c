//! How a run can end badly, and the exit code of each way.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use stormproof_router::log::{ReadError, WriteError};

/// Why the program does not exit with 0.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed while running: exit code 1.
    Running(anyhow::Error),
    /// Bad usage or bad input, with place and remedy; nothing was done: exit code 2.
    Input(String),
    /// Something that the scenario says must pass did not: exit code 99. The report has said which.
    NotPassed,
    /// Whoever read our output has gone. That is success: they had seen enough.
    BrokenPipe,
}

impl Failure {
    /// Bad input, in the words of whoever refused it.
    pub(crate) fn input(reason: impl Display) -> Self {
        Self::Input(reason.to_string())
    }

    /// Says on standard error what went wrong, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = match self {
            Self::Running(error) => (format!("error: {error:#}"), 1),
            Self::Input(reason) => (reason, 2),
            Self::NotPassed => (String::new(), 99),
            Self::BrokenPipe => (String::new(), 0),
        };
        if !text.is_empty() {
            // Where standard error is closed there is nobody left to tell.
            let _unheard = writeln!(io::stderr(), "{}", text.trim_end());
        }
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::BrokenPipe } else { Self::Running(error.into()) }
    }
}

/// A log that is not there, is none, or is damaged is bad input.
impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { .. } => Self::Running(error.into()),
            ReadError::Missing { .. }
            | ReadError::Empty { .. }
            | ReadError::Damaged(_)
            | ReadError::NewerFormat { .. }
            | ReadError::Senseless { .. } => Self::Input(format!("error: {error}")),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NotEmpty { .. } | WriteError::Owned { .. } => Self::Input(format!("error: {error}")),
            WriteError::Unreadable { source, .. } => source.into(),
            WriteError::Storage { .. } | WriteError::Inexpressible(_) => Self::Running(error.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Running(error)
    }
}
