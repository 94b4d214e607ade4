//! Modules of a crate, as the compiler finds them, and the paths that their code names.
//!
//! The code is read as tokens, so that comments and strings do not count, but the arguments of macros do. Code for
//! tests alone (`#[cfg(test)]`) is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream};

/// A path from the root of the crate: `["net", "tls"]`.
pub(crate) type Names = Vec<String>;

/// One module.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file that it is in.
    pub(crate) file: PathBuf,
    /// Paths within the crate that its code names. Each leads to a module or to something in one.
    pub(crate) uses: BTreeSet<Names>,
    /// The names that it imports, and where they lead.
    imports: BTreeMap<String, Names>,
}

/// All modules of a crate.
#[derive(Debug, Default)]
pub(crate) struct Modules(pub(crate) BTreeMap<Names, Module>);

/// Where a module's text comes from.
pub(crate) trait Source {
    /// The text of the first of these files that exists; their paths are relative to the root's folder.
    fn read(&self, candidates: [PathBuf; 2]) -> Option<(PathBuf, String)>;
}

impl Source for &Path {
    fn read(&self, candidates: [PathBuf; 2]) -> Option<(PathBuf, String)> {
        candidates
            .into_iter()
            .find_map(|file| Some((file.clone(), fs::read_to_string(self.join(&file)).ok()?)))
    }
}

impl Source for BTreeMap<PathBuf, String> {
    fn read(&self, candidates: [PathBuf; 2]) -> Option<(PathBuf, String)> {
        candidates
            .into_iter()
            .find_map(|file| Some((file.clone(), self.get(&file)?.clone())))
    }
}

impl Modules {
    /// The modules of the crate whose root is `lib.rs`.
    pub(crate) fn of(source: &impl Source) -> Self {
        let mut modules = Self::default();
        modules.read(source, vec![], ["lib.rs".into(), "lib.rs".into()]);
        modules.resolve();
        modules
    }

    fn read(&mut self, source: &impl Source, name: Names, candidates: [PathBuf; 2]) {
        let Some((file, text)) = source.read(candidates) else {
            panic!("module {name:?} has no file");
        };
        let tokens = TokenStream::from_str(&text);
        let tokens = tokens.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let module = Module {
            file,
            ..Module::default()
        };
        self.0.insert(name.clone(), module);
        let children = self.walk(tokens, &name);
        for child in children {
            let folder: PathBuf = name.iter().collect();
            let mut path = name.clone();
            path.push(child.clone());
            let files = [
                folder.join(format!("{child}.rs")),
                folder.join(&child).join("mod.rs"),
            ];
            self.read(source, path, files);
        }
    }

    /// Notes the paths in the code of a module. Returns the names of its children that have files of their own.
    fn walk(&mut self, tokens: TokenStream, name: &Names) -> Vec<String> {
        let mut children = Vec::new();
        let mut tokens = tokens.into_iter().peekable();
        // Colons just before the token: `T: crate::a` begins a path, `other::crate` does not.
        let mut colons = 0;
        while let Some(token) = tokens.next() {
            let colons_before = std::mem::take(&mut colons);
            match token {
                TokenTree::Punct(it) if it.as_char() == '#' => {
                    let attribute = tokens.next_if(|it| matches!(it, TokenTree::Group(_)));
                    if attribute.is_some_and(|it| is_for_tests(&it)) {
                        skip_item(&mut tokens);
                    }
                }
                TokenTree::Punct(it) => {
                    colons = if it.as_char() == ':' {
                        colons_before + 1
                    } else {
                        0
                    }
                }
                TokenTree::Group(group) => children.extend(self.walk(group.stream(), name)),
                TokenTree::Ident(word) if word == "mod" => {
                    let Some(TokenTree::Ident(child)) = tokens.next() else {
                        continue;
                    };
                    match tokens.next() {
                        Some(TokenTree::Group(group)) => {
                            let mut inner = name.clone();
                            inner.push(child.to_string());
                            let file = self.0[name].file.clone();
                            let module = Module {
                                file,
                                ..Module::default()
                            };
                            self.0.insert(inner.clone(), module);
                            let nested = self.walk(group.stream(), &inner);
                            assert!(nested.is_empty(), "{inner:?} has files of its own");
                        }
                        _ => children.push(child.to_string()),
                    }
                }
                TokenTree::Ident(word) if word == "use" => {
                    let mut found = Vec::new();
                    read_tree(&mut tokens, &mut vec![], &mut found);
                    for (path, alias) in found {
                        self.note(name, path, Some(alias));
                    }
                }
                TokenTree::Ident(word)
                    if colons_before < 2
                        && (word == "crate" || word == "super" || word == "self") =>
                {
                    let mut path = vec![word.to_string()];
                    while let Some(next) = next_segment(&mut tokens) {
                        path.push(next);
                    }
                    self.note(name, path, None);
                }
                TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
        }
        children
    }

    fn note(&mut self, name: &Names, path: Names, alias: Option<String>) {
        let mut segments = path.into_iter().peekable();
        let mut absolute = name.clone();
        let mut is_relative = false;
        while let Some(first) =
            segments.next_if(|it| matches!(it.as_str(), "crate" | "self" | "super"))
        {
            is_relative = true;
            match first.as_str() {
                "crate" => absolute.clear(),
                "super" => drop(absolute.pop()),
                _ => {}
            }
        }
        absolute.extend(segments);
        let module = self.0.get_mut(name).expect("it is being read");
        if let Some(alias) = alias {
            module.imports.insert(alias, absolute.clone());
        }
        // Whether any other path leads into this crate is known only when all modules have been read.
        if is_relative || absolute.len() > name.len() {
            module.uses.insert(absolute);
        }
    }

    /// Follows names that modules have imported from elsewhere.
    fn resolve(&mut self) {
        let known = &self.0;
        let resolved: Vec<_> = known
            .iter()
            .map(|(name, module)| {
                let uses = module.uses.iter();
                let uses: BTreeSet<_> = uses.map(|path| follow(known, path.clone(), 8)).collect();
                (name.clone(), uses)
            })
            .collect();
        for (name, uses) in resolved {
            self.0.get_mut(&name).expect("it is known").uses = uses;
        }
    }

    /// Uses between modules of the same folder: `(folder, from, to)`. What a folder's own file uses does not count.
    pub(crate) fn siblings(&self) -> BTreeSet<(Names, String, String)> {
        let mut edges = BTreeSet::new();
        for (name, module) in &self.0 {
            for path in &module.uses {
                let common = name.iter().zip(path).take_while(|(a, b)| a == b).count();
                let (Some(from), Some(to)) = (name.get(common), path.get(common)) else {
                    continue;
                };
                let folder = name[..common].to_vec();
                let mut other = folder.clone();
                other.push(to.clone());
                if self.0.contains_key(&other) {
                    edges.insert((folder, from.clone(), to.clone()));
                }
            }
        }
        edges
    }
}

fn follow(known: &BTreeMap<Names, Module>, path: Names, depth: u32) -> Names {
    let deepest = (0..=path.len())
        .rev()
        .find(|length| known.contains_key(&path[..*length]));
    let length = deepest.unwrap_or_default();
    let (Some(name), true) = (path.get(length), depth > 0) else {
        return path;
    };
    match known[&path[..length]].imports.get(name) {
        Some(target) if *target != path => {
            let further = path[length + 1..].iter().cloned();
            follow(
                known,
                target.iter().cloned().chain(further).collect(),
                depth - 1,
            )
        }
        _ => path,
    }
}

type Tokens = Peekable<token_stream::IntoIter>;

fn is_for_tests(attribute: &TokenTree) -> bool {
    attribute.to_string().replace(' ', "") == "[cfg(test)]"
}

/// Skips what an attribute applies to: up to a semicolon or a block in braces; for a field or an arm, up to the comma.
fn skip_item(tokens: &mut Tokens) {
    let mut is_import = false;
    let mut is_item = false;
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                is_import |= word == "use";
                is_item |= [
                    "fn", "impl", "struct", "enum", "trait", "type", "const", "mod",
                ]
                .contains(&word.to_string().as_str());
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_import => {
                return;
            }
            TokenTree::Punct(it) if it.as_char() == ';' => return,
            TokenTree::Punct(it) if it.as_char() == ',' && !is_item && !is_import => return,
            _ => {}
        }
    }
}

/// `::` and a name, if that is what comes next.
fn next_segment(tokens: &mut Tokens) -> Option<String> {
    if !next_is_separator(tokens) {
        return None;
    }
    match tokens.next_if(|it| matches!(it, TokenTree::Ident(_))) {
        Some(TokenTree::Ident(name)) => Some(name.to_string()),
        _ => None,
    }
}

fn next_is_separator(tokens: &mut Tokens) -> bool {
    let is_colon = |it: &TokenTree| matches!(it, TokenTree::Punct(it) if it.as_char() == ':');
    if !tokens.peek().is_some_and(|it| is_colon(it) && is_joint(it)) {
        return false;
    }
    tokens.next();
    tokens.next_if(is_colon).is_some()
}

fn is_joint(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(it) if it.spacing() == proc_macro2::Spacing::Joint)
}

/// Reads `a::{b, c::d as e}` of a `use`. Finds the paths, and the names by which the code knows them.
fn read_tree(tokens: &mut Tokens, before: &mut Names, found: &mut Vec<(Names, String)>) {
    let length = before.len();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "as" => {
                let alias = tokens.next().map(|it| it.to_string());
                found.push((before.clone(), alias.unwrap_or_default()));
                before.truncate(length);
            }
            TokenTree::Ident(word) => before.push(word.to_string()),
            TokenTree::Group(group) => {
                read_tree(&mut group.stream().into_iter().peekable(), before, found);
                before.truncate(length);
            }
            TokenTree::Punct(it) if it.as_char() == ';' => break,
            TokenTree::Punct(it) if it.as_char() == ',' => end_tree(before, length, found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    end_tree(before, length, found);
}

fn end_tree(before: &mut Names, length: usize, found: &mut Vec<(Names, String)>) {
    if before.len() > length {
        // `use a::{self}` is `use a`.
        if before.len() > 1 && before.last().is_some_and(|last| last == "self") {
            before.pop();
        }
        let alias = before.last().cloned().unwrap_or_default();
        found.push((before.clone(), alias));
        before.truncate(length);
    }
}
