//! Reads the JSON that `--json` prints: small and strict, so that a stray comma fails a test.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// One value and nothing after it.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader { rest: text.trim() };
        let value = reader.value().unwrap_or_else(|| panic!("not JSON at {:?} of {text:?}", reader.rest));
        assert_eq!(reader.rest, "", "something after the JSON value");
        value
    }

    /// One object a line.
    #[track_caller]
    pub fn parse_lines(text: &str) -> Vec<Self> {
        text.lines().map(Self::parse).collect()
    }

    /// The value of a key; fails when this is no object or lacks it.
    #[track_caller]
    pub fn key(&self, name: &str) -> &Self {
        match self {
            Self::Object(members) => members.get(name).unwrap_or_else(|| panic!("no {name:?} in {self:?}")),
            _ => panic!("no object: {self:?}"),
        }
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => panic!("no string: {self:?}"),
        }
    }

    #[track_caller]
    pub fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            _ => panic!("no number: {self:?}"),
        }
    }

    /// True for `true`, and for nothing else.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    #[track_caller]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(values) => values,
            _ => panic!("no list: {self:?}"),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?.trim_start();
        Some(())
    }

    fn value(&mut self) -> Option<Json> {
        match self.rest.bytes().next()? {
            b'{' => self.object(),
            b'[' => self.list(),
            b'"' => self.text().map(Json::Text),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'n' => self.take("null").map(|()| Json::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self) -> Option<Json> {
        self.take("{")?;
        let mut members = BTreeMap::new();
        while self.take("}").is_none() {
            if !members.is_empty() {
                self.take(",")?;
            }
            let name = self.text()?;
            self.take(":")?;
            let value = self.value()?;
            members.insert(name, value).is_none().then_some(())?;
        }
        Some(Json::Object(members))
    }

    fn list(&mut self) -> Option<Json> {
        self.take("[")?;
        let mut values = Vec::new();
        while self.take("]").is_none() {
            if !values.is_empty() {
                self.take(",")?;
            }
            values.push(self.value()?);
        }
        Some(Json::List(values))
    }

    fn number(&mut self) -> Option<Json> {
        let end = self.rest.find([',', '}', ']', ' ']).unwrap_or(self.rest.len());
        let number = self.rest[..end].parse().ok()?;
        self.rest = self.rest[end..].trim_start();
        Some(Json::Number(number))
    }

    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut characters = self.rest.strip_prefix('"')?.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    self.rest = self.rest[at + 2..].trim_start();
                    return Some(text);
                }
                (_, '\\') => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => {
                        let digits: String = characters.by_ref().take(4).map(|(_, digit)| digit).collect();
                        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                    }
                    plain @ ('"' | '\\' | '/') => text.push(plain),
                    _ => return None,
                },
                (_, control) if control < ' ' => return None,
                (_, plain) => text.push(plain),
            }
        }
    }
}
