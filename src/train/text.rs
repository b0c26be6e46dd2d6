//! `name:item,item,…`, the line in which an optimizer or a schedule is written: flags, numbers, `key=number`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// A line of which items are taken until none may be left.
pub(super) struct Line<'t> {
    what: &'static str,
    text: &'t str,
    expected: &'static str,
    pub name: &'t str,
    items: Vec<&'t str>,
}

impl<'t> Line<'t> {
    /// `text`, a line that stands for `what`; an error says that `expected` would have been right.
    pub fn new(what: &'static str, text: &'t str, expected: &'static str) -> Self {
        let (name, items) = match text.split_once(':') {
            Some((name, items)) => (name, items.split(',').map(str::trim).collect()),
            None => (text, Vec::new()),
        };
        Self {
            what,
            text,
            expected,
            name: name.trim(),
            items,
        }
    }

    /// The error for a `part` of the line.
    pub fn unknown(&self, part: &str) -> Error {
        Error::Text {
            what: self.what,
            text: self.text.to_owned(),
            part: part.to_owned(),
            expected: self.expected,
        }
    }

    /// Whether `key` stands in the line.
    pub fn flag(&mut self, key: &str) -> bool {
        let found = self.items.iter().position(|&item| item == key);
        found.map(|at| self.items.remove(at)).is_some()
    }

    /// The number of `key=number`, if it is there.
    pub fn keyed<T: FromStr>(&mut self, key: &str) -> Result<Option<T>> {
        let value = |item: &'t str| item.strip_prefix(key)?.trim_start().strip_prefix('=');
        let Some(at) = self.items.iter().position(|&item| value(item).is_some()) else {
            return Ok(None);
        };
        let item = self.items.remove(at);
        let number = value(item).and_then(|number| number.trim().parse().ok());
        number.map(Some).ok_or_else(|| self.unknown(item))
    }

    /// The number of the first item.
    pub fn number<T: FromStr>(&mut self) -> Result<T> {
        if self.items.is_empty() {
            return Err(self.unknown(self.text));
        }
        let item = self.items.remove(0);
        item.parse().map_err(|_| self.unknown(item))
    }

    /// An error where an item was not taken.
    pub fn end(self) -> Result<()> {
        match self.items.first() {
            Some(item) => Err(self.unknown(item)),
            None => Ok(()),
        }
    }
}

/// `value`, if it is in the range that `expected` describes.
pub(super) fn in_range(
    what: &'static str,
    value: f64,
    expected: &'static str,
    inside: bool,
) -> Result<()> {
    match inside {
        true => Ok(()),
        false => Err(Error::Parameter {
            what,
            got: value,
            expected,
        }),
    }
}
