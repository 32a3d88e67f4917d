//! A document: its operations, its fragments, and the root fields that a server would run.

use std::collections::{BTreeMap, BTreeSet};

use apollo_parser::cst::{self, CstNode, Definition, Selection};
use apollo_parser::{Parser, SyntaxKind, SyntaxNode};

use super::Odd;
use super::plain::{self, DEPTH_MAX};

/// Most words of a document, with white space and comments.
const TOKENS_MAX: usize = 10_000;
/// The type of the root fields of a mutation, in every schema that does not rename it.
const ROOT: &str = "Mutation";

/// The parts of a document that are run.
pub(super) struct Document {
    operations: Vec<Operation>,
    fragments: BTreeMap<String, cst::FragmentDefinition>,
}

pub(super) struct Operation {
    pub kind: Kind,
    name: Option<String>,
    node: cst::OperationDefinition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

/// One root field of a mutation.
pub(super) struct RootField {
    pub name: String,
    /// The alias, or else the name.
    pub key: String,
    node: cst::Field,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, Odd> {
        plain::check(text)?;
        let tree = Parser::new(text).recursion_limit(DEPTH_MAX).token_limit(TOKENS_MAX).parse();
        if tree.errors().next().is_some() {
            return Err("a text that is no GraphQL, or too long");
        }
        let root = tree.document();
        if !root.syntax().descendants().all(is_whole) {
            return Err("an argument without a value");
        }
        let mut document = Self { operations: Vec::new(), fragments: BTreeMap::new() };
        root.definitions().try_for_each(|definition| document.add(definition))?;
        let mut names = BTreeSet::new();
        if !document.operations.iter().all(|operation| names.insert(&operation.name)) {
            return Err("two operations of one name");
        }
        if names.len() > 1 && names.contains(&None) {
            return Err("an operation without a name beside others");
        }
        Ok(document)
    }

    fn add(&mut self, definition: Definition) -> Result<(), Odd> {
        match definition {
            Definition::OperationDefinition(node) => self.operations.push(Operation::of(node)),
            Definition::FragmentDefinition(node) => {
                let name =
                    node.fragment_name().and_then(|name| text(name.name())).ok_or("a fragment without a name")?;
                if self.fragments.insert(name, node).is_some() {
                    return Err("two fragments of one name");
                }
            }
            _ => return Err("a definition of types"),
        }
        Ok(())
    }

    /// The operation that a server runs.
    pub(super) fn operation(&self, name: Option<&str>) -> Result<&Operation, Odd> {
        match (name, self.operations.as_slice()) {
            (None, [only]) => Ok(only),
            (None, _) => Err("not one operation, and no operationName"),
            (Some(_), all) => {
                all.iter().find(|one| one.name.as_deref() == name).ok_or("no operation has the operationName")
            }
        }
    }

    /// The root fields of a mutation, those in fragments too, in no order.
    pub(super) fn root_fields(&self, operation: &Operation) -> Result<Vec<RootField>, Odd> {
        without_directives(operation.node.directives())?;
        let mut fields = Vec::new();
        let mut spread = BTreeSet::new();
        let mut open = vec![operation.node.selection_set()];
        while let Some(set) = open.pop() {
            for selection in set.ok_or("a fragment without fields")?.selections() {
                match selection {
                    Selection::Field(node) => fields.push(RootField::of(node)?),
                    Selection::InlineFragment(inline) => {
                        without_directives(inline.directives())?;
                        inline.type_condition().map_or(Ok(()), on_root)?;
                        open.push(inline.selection_set());
                    }
                    Selection::FragmentSpread(node) => {
                        without_directives(node.directives())?;
                        let name = node.fragment_name().and_then(|name| text(name.name())).unwrap_or_default();
                        let fragment = self.fragments.get(&name).ok_or("a fragment that is not there")?;
                        if !spread.insert(name) {
                            return Err("a fragment that is spread twice");
                        }
                        without_directives(fragment.directives())?;
                        on_root(fragment.type_condition().ok_or("a fragment on no type")?)?;
                        open.push(fragment.selection_set());
                    }
                }
            }
        }
        Ok(fields)
    }

    /// True when a field below the root fields may stand under another name in the answer.
    pub(super) fn renames_below(&self, operation: &Operation, roots: &[RootField]) -> bool {
        let fragments = self.fragments.values().map(CstNode::syntax);
        let nodes = fragments.chain([operation.node.syntax()]).flat_map(SyntaxNode::descendants);
        let mut renamed = nodes.filter(|node| node.kind() == SyntaxKind::ALIAS).filter_map(|alias| alias.parent());
        renamed.any(|field| roots.iter().all(|root| *root.node.syntax() != field))
    }
}

impl Operation {
    fn of(node: cst::OperationDefinition) -> Self {
        let kind = match node.operation_type() {
            Some(kind) if kind.mutation_token().is_some() => Kind::Mutation,
            Some(kind) if kind.subscription_token().is_some() => Kind::Subscription,
            _ => Kind::Query,
        };
        Self { kind, name: text(node.name()), node }
    }

    /// The declaration of a variable; `None` when there is not exactly one.
    pub(super) fn variable(&self, name: &str) -> Option<cst::VariableDefinition> {
        let declared = self.node.variable_definitions()?.variable_definitions();
        only(declared.filter(|one| one.variable().and_then(|variable| text(variable.name())).as_deref() == Some(name)))
    }
}

impl RootField {
    fn of(node: cst::Field) -> Result<Self, Odd> {
        without_directives(node.directives())?;
        let name = text(node.name()).ok_or("a field without a name")?;
        let alias = node.alias().and_then(|alias| text(alias.name()));
        Ok(Self { key: alias.unwrap_or_else(|| name.clone()), name, node })
    }

    /// The value of an argument; `None` when there is not exactly one.
    pub(super) fn argument(&self, name: &str) -> Option<cst::Value> {
        let given = self.node.arguments()?.arguments();
        only(given.filter(|one| text(one.name()).as_deref() == Some(name)))?.value()
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = (Option<String>, Option<cst::Value>)> {
        let given = self.node.arguments().into_iter().flat_map(|all| all.arguments());
        given.map(|one| (text(one.name()), one.value()))
    }

    /// True when the field is a name and perhaps arguments.
    pub(super) fn is_bare(&self) -> bool {
        self.node.alias().is_none() && self.node.selection_set().is_none()
    }
}

pub(super) fn text(name: Option<cst::Name>) -> Option<String> {
    Some(name?.ident_token()?.text().to_owned())
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The parser lets arguments and members without a value pass.
fn is_whole(node: SyntaxNode) -> bool {
    match node.kind() {
        SyntaxKind::ARGUMENT => cst::Argument::cast(node).is_some_and(|argument| argument.value().is_some()),
        SyntaxKind::OBJECT_FIELD => cst::ObjectField::cast(node).is_some_and(|field| field.value().is_some()),
        _ => true,
    }
}

/// Directives decide what is run (`@skip`), and servers have more of them than are known here.
fn without_directives(directives: Option<cst::Directives>) -> Result<(), Odd> {
    directives.map_or(Ok(()), |_| Err("a directive on the way to a root field"))
}

fn on_root(condition: cst::TypeCondition) -> Result<(), Odd> {
    let name = condition.named_type().and_then(|named| text(named.name()));
    if name.as_deref() == Some(ROOT) { Ok(()) } else { Err("a fragment on another type than `Mutation`") }
}
