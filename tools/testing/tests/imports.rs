//! Tests that no two files of a crate import each other, not even through re-exports.
//!
//! The test reads the sources of all crates, resolves every `use` and every path to the file that defines the
//! item, and fails for two files that import from each other. The imports of `#[cfg(test)]` modules do not
//! count.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Item, UseTree};

/// The longest chain of re-exports that is followed.
const MOST_STEPS: usize = 16;

#[derive(Default)]
struct Module {
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    /// The names of the items that it defines.
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of two or more segments outside of `use` declarations.
    paths: Vec<Vec<String>>,
    is_test: bool,
}

struct Import {
    path: Vec<String>,
    /// The name that it gets here; `None` for all names in a module.
    name: Option<String>,
}

/// The module that a path names, or that defines the item that it names.
#[derive(Clone, Copy)]
enum Found {
    Module(usize),
    Item(usize),
}

#[derive(Default)]
struct Crate {
    modules: Vec<Module>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_file(root, root.parent().unwrap(), 0, false);
        tree
    }

    /// Reads a file, whose child modules are in `folder`. Returns its module.
    fn read_file(&mut self, file: &Path, folder: &Path, parent: usize, is_test: bool) -> usize {
        let text = fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.add(parsed.items, file, folder, parent, is_test)
    }

    fn add(
        &mut self,
        items: Vec<Item>,
        file: &Path,
        folder: &Path,
        parent: usize,
        is_test: bool,
    ) -> usize {
        let this = self.modules.len();
        self.modules.push(Module {
            file: file.into(),
            parent,
            is_test,
            ..Module::default()
        });
        for item in items {
            let Item::Mod(child) = item else {
                let module = &mut self.modules[this];
                module.items.extend(name_of(&item));
                Collector(module).visit_item(&item);
                continue;
            };
            let name = child.ident.unraw().to_string();
            let is_test = is_test || child.attrs.iter().any(is_cfg_test);
            let inner = folder.join(&name);
            let index = match child.content {
                Some((_, items)) => self.add(items, file, &inner, this, is_test),
                None => {
                    let explicit = child.attrs.iter().find_map(path_of);
                    let file = match explicit {
                        Some(path) => file.parent().unwrap().join(path),
                        None => [folder.join(format!("{name}.rs")), inner.join("mod.rs")]
                            .into_iter()
                            .find(|file| file.exists())
                            .unwrap_or_else(|| panic!("{}: no module {name}", file.display())),
                    };
                    self.read_file(&file, &inner, this, is_test)
                }
            };
            self.modules[this].children.insert(name, index);
        }
        this
    }

    /// Resolves a path in a module; `None` if it leads to another crate.
    fn resolve(&self, module: usize, path: &[String], steps: usize) -> Option<Found> {
        if steps > MOST_STEPS {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let mut found = match first.as_str() {
            "crate" => Found::Module(0),
            "self" => Found::Module(module),
            "super" => Found::Module(self.modules[module].parent),
            name => self.look_up(module, name, steps)?,
        };
        for name in rest {
            found = match found {
                Found::Module(at) if name == "super" => Found::Module(self.modules[at].parent),
                Found::Module(at) if name == "self" => Found::Module(at),
                Found::Module(at) => self.look_up(at, name, steps)?,
                // What belongs to an item is defined with it, or at least found by it.
                item => return Some(item),
            };
        }
        Some(found)
    }

    fn look_up(&self, module: usize, name: &str, steps: usize) -> Option<Found> {
        let Module {
            children,
            items,
            imports,
            ..
        } = &self.modules[module];
        if let Some(&child) = children.get(name) {
            return Some(Found::Module(child));
        }
        if items.contains(name) {
            return Some(Found::Item(module));
        }
        imports.iter().find_map(|import| match &import.name {
            Some(own) if own == name => self.resolve(module, &import.path, steps + 1),
            Some(_) => None,
            None => match self.resolve(module, &import.path, steps + 1)? {
                Found::Module(at) if at != module && steps < MOST_STEPS => {
                    self.look_up(at, name, steps + 1)
                }
                _ => None,
            },
        })
    }

    /// Returns the pairs of files of which the first imports from the second.
    fn edges(&self) -> BTreeSet<(&Path, &Path)> {
        let mut edges = BTreeSet::new();
        for (at, module) in self.modules.iter().enumerate() {
            if module.is_test {
                continue;
            }
            let imports = module.imports.iter();
            let paths = imports.map(|import| (&import.path, import.name.is_none()));
            for (path, glob) in paths.chain(module.paths.iter().map(|path| (path, false))) {
                let target = match self.resolve(at, path, 0) {
                    Some(Found::Item(target)) => target,
                    Some(Found::Module(target)) if glob => target,
                    // The name of a module alone imports nothing.
                    _ => continue,
                };
                let target = &self.modules[target].file;
                if *target != module.file {
                    edges.insert((module.file.as_path(), target.as_path()));
                }
            }
        }
        edges
    }

    /// Returns the pairs of files that import each other.
    fn mutual_imports(&self) -> Vec<(PathBuf, PathBuf)> {
        let edges = self.edges();
        let mutual = |(a, b): &&(&Path, &Path)| a < b && edges.contains(&(*b, *a));
        let pairs = edges.iter().filter(mutual);
        pairs.map(|(a, b)| (a.into(), b.into())).collect()
    }
}

/// Collects the imports and paths of a module.
struct Collector<'a>(&'a mut Module);

impl Visit<'_> for Collector<'_> {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        flatten(&item.tree, &mut Vec::new(), &mut self.0.imports);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments = path.segments.iter();
        let path_: Vec<_> = segments.map(|s| s.ident.unraw().to_string()).collect();
        if path_.len() > 1 {
            self.0.paths.push(path_);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        collect_tokens(call.tokens.clone(), &mut self.0.paths);
        visit::visit_macro(self, call);
    }
}

/// Collects the paths among the arguments of a macro.
fn collect_tokens(tokens: TokenStream, paths: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    let mut end = |path: &mut Vec<String>| {
        let path = std::mem::take(path);
        if path.len() > 1 {
            paths.push(path);
        }
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    end(&mut path);
                }
                path.push(name.unraw().to_string());
                colons = 0;
            }
            TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
            other => {
                end(&mut path);
                colons = 0;
                if let TokenTree::Group(group) = other {
                    groups.push(group.stream());
                }
            }
        }
    }
    end(&mut path);
    for group in groups {
        collect_tokens(group, paths);
    }
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, imports: &mut Vec<Import>) {
    let depth = before.len();
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.unraw().to_string());
            flatten(&path.tree, before, imports);
        }
        UseTree::Group(group) => {
            let trees = group.items.iter();
            trees.for_each(|tree| flatten(tree, before, imports));
        }
        UseTree::Glob(_) => imports.push(Import {
            path: before.clone(),
            name: None,
        }),
        UseTree::Name(name) => {
            let name = name.ident.unraw().to_string();
            let own = match name.as_str() {
                "self" => before.last().cloned(),
                _ => Some(name.clone()),
            };
            before.push(name);
            imports.push(Import {
                path: before.clone(),
                name: Some(own.unwrap_or_default()),
            });
        }
        UseTree::Rename(rename) => {
            before.push(rename.ident.unraw().to_string());
            imports.push(Import {
                path: before.clone(),
                name: Some(rename.rename.unraw().to_string()),
            });
        }
    }
    before.truncate(depth);
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.unraw().to_string())
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let list = attribute.meta.require_list();
    attribute.path().is_ident("cfg")
        && list.is_ok_and(|list| {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test")
        })
}

fn path_of(attribute: &syn::Attribute) -> Option<String> {
    if !attribute.path().is_ident("path") {
        return None;
    }
    let syn::Expr::Lit(value) = &attribute.meta.require_name_value().ok()?.value else {
        return None;
    };
    match &value.lit {
        syn::Lit::Str(path) => Some(path.value()),
        _ => None,
    }
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().into()
}

/// Returns the root files of all targets in a package.
fn roots(package: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<_> = ["src/lib.rs", "src/main.rs"]
        .map(|file| package.join(file))
        .into();
    // The package `benches` has its targets at the top.
    for folder in ["src/bin", "tests", "examples", ""] {
        let Ok(entries) = fs::read_dir(package.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if folder.is_empty() && path.ends_with("src") => {}
                true => roots.push(path.join("main.rs")),
                false if path.extension().is_some_and(|end| end == "rs") => roots.push(path),
                false => {}
            }
        }
    }
    roots.retain(|root| root.is_file());
    roots
}

#[test]
fn no_two_files_import_each_other() {
    let repository = repository();
    let manifest = fs::read_to_string(repository.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|l| l.strip_prefix("members = "));
    let packages = members.unwrap().split('"').skip(1).step_by(2);
    let (mut wrong, mut files) = (Vec::new(), 0);
    for root in packages.flat_map(|package| roots(&repository.join(package))) {
        let tree = Crate::read(&root);
        files += tree.modules.len();
        for (a, b) in tree.mutual_imports() {
            let mut names = [a, b].map(|file| {
                let file = file.strip_prefix(&repository).unwrap();
                file.to_str().unwrap().to_owned()
            });
            names.sort();
            let [a, b] = names;
            wrong.push(format!("{a} and {b}"));
        }
    }
    assert!(files > 100, "only {files} modules found");
    wrong.sort();
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "these files import each other:\n{}",
        wrong.join("\n")
    );
}

/// Reads a crate with these files, and returns its mutual imports.
fn sample(name: &str, files: &[(&str, &str)]) -> Vec<(PathBuf, PathBuf)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for (file, text) in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let pairs = Crate::read(&folder.join("lib.rs")).mutual_imports();
    let relative = |path: PathBuf| path.strip_prefix(&folder).unwrap().to_owned();
    let pairs = pairs.into_iter();
    pairs.map(|(a, b)| (relative(a), relative(b))).collect()
}

#[test]
fn mutual_imports_are_found() {
    let pair = |a: &str, b: &str| vec![(PathBuf::from(a), PathBuf::from(b))];
    let a_and_b = |a, b| {
        let lib = "mod a; mod b; pub use a::A; pub use b::*;";
        sample("two", &[("lib.rs", lib), ("a.rs", a), ("b.rs", b)])
    };
    assert_eq!(a_and_b("pub struct A;", "pub struct B(crate::A);"), []);
    // By a re-export, a path, the parent, a module's name, and within a macro.
    for user in [
        "use crate::B; pub struct A(B);",
        "pub struct A(crate::b::B);",
        "use super::B as C; pub struct A(C);",
        "use crate::b; pub struct A(b::B);",
        "pub struct A; fn f() { println!(\"{}\", size_of::<crate::B>()) }",
    ] {
        let found = a_and_b(user, "use super::A; pub struct B(A);");
        assert_eq!(found, pair("a.rs", "b.rs"), "{user}");
    }
    // Tests may import what imports their file.
    let tests = "pub struct A; #[cfg(test)] mod tests { use crate::B; }";
    assert_eq!(a_and_b(tests, "pub struct B(crate::A);"), []);

    let nested = |a| {
        let inner = "use super::A; pub fn f(_: A) {}";
        sample(
            "nested",
            &[("lib.rs", "mod a;"), ("a.rs", a), ("a/i.rs", inner)],
        )
    };
    assert_eq!(nested("mod i; pub struct A;"), []);
    assert_eq!(
        nested("mod i; pub struct A; fn g() { i::f(A) }"),
        pair("a/i.rs", "a.rs")
    );
}
