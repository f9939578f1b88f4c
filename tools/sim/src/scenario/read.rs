//! Reading scenarios from files.

use std::path::Path;

use super::settings::Scenario;
use super::tables;
use crate::error::Error;
use crate::input;

impl Scenario {
    /// Reads a scenario from a file. With `small`, the values in its `[small]` table replace the
    /// others. Both variants are checked, whichever is asked for.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Input`], [`Error::NoSmall`].
    pub fn read(path: &Path, small: bool) -> Result<Self, Error> {
        let text = input::read(path)?;
        Self::parse_file(path, &text, small)
    }

    /// Parses the text of a scenario. Errors call the file `scenario`. A topology file that the
    /// scenario names is looked for in the working directory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str, small: bool) -> Result<Self, Error> {
        Self::parse_file(Path::new("scenario"), text, small)
    }

    fn parse_file(path: &Path, text: &str, small: bool) -> Result<Self, Error> {
        let asked = Self::parse_variant(path, text, small)?;
        // A mistake in one variant is reported even if the other is about to run.
        match Self::parse_variant(path, text, !small) {
            Err(Error::NoSmall { .. }) => {}
            other => {
                if let Err(error) = other.and_then(|other| other.lay_out()) {
                    // The variant that was asked for may have the same mistake.
                    asked.lay_out()?;
                    return Err(in_other_variant(error, small));
                }
            }
        }
        Ok(asked)
    }

    fn parse_variant(path: &Path, text: &str, small: bool) -> Result<Self, Error> {
        let (source, mut scenario) = tables::read::<Self>(path, text, small)?;
        scenario.source = source;
        scenario.directory = path.parent().unwrap_or(Path::new(".")).into();
        scenario.check()?;
        Ok(scenario)
    }
}

/// Says which variant of the scenario an error belongs to, if it is not the one that was asked for.
fn in_other_variant(error: Error, small: bool) -> Error {
    let option = match small {
        true => "without --small",
        false => "with --small",
    };
    match error {
        Error::Input { file, line, wrong } => Error::Input {
            file,
            line,
            wrong: format!("{wrong} ({option})"),
        },
        error => error,
    }
}
