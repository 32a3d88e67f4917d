//! One root field as a preset names it: `addItemToOrder`, `transitionOrderToState(state: "Draft")`.

use apollo_parser::cst::{self, Type, Value};

use super::Odd;
use super::document::{Document, Operation, RootField, text};
use super::request::Variables;

/// A root field, and the texts that its arguments must have.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub name: String,
    arguments: Vec<(String, String)>,
}

impl Rule {
    /// Reads a rule, which is GraphQL itself.
    pub(super) fn parse(rule: &str) -> Result<Self, Odd> {
        const ODD: Odd = "not a field with texts as arguments";
        let document = Document::parse(&format!("{{{rule}\n}}")).map_err(|_| ODD)?;
        let fields = document.root_fields(document.operation(None)?).map_err(|_| ODD)?;
        let [field] = fields.as_slice() else { return Err(ODD) };
        let literal = |(name, value): (Option<String>, Option<Value>)| Some((name?, string(value?)?));
        let arguments = field.arguments().map(literal).collect::<Option<Vec<_>>>().ok_or(ODD)?;
        let whole = field.is_bare() && arguments.iter().all(|(name, _)| field.argument(name).is_some());
        if whole { Ok(Self { name: field.name.clone(), arguments }) } else { Err(ODD) }
    }

    pub(super) const fn is_conditional(&self) -> bool {
        !self.arguments.is_empty()
    }

    /// True when it is this field, and every argument is known to have its text.
    pub(super) fn holds(&self, field: &RootField, operation: &Operation, variables: Variables<'_>) -> bool {
        let has = |(name, expected): &(String, String)| match field.argument(name) {
            Some(Value::Variable(variable)) => given(&variable, operation, variables).as_ref() == Some(expected),
            Some(value) => string(value).as_ref() == Some(expected),
            None => false,
        };
        self.name == field.name && self.arguments.iter().all(has)
    }
}

/// The text that a variable has: from the request, or else by its declaration.
fn given(variable: &cst::Variable, operation: &Operation, variables: Variables<'_>) -> Option<String> {
    let name = text(variable.name())?;
    let declared = operation.variable(&name)?;
    let is_plain = match declared.ty()? {
        Type::NamedType(_) => true,
        Type::NonNullType(inner) => inner.named_type().is_some(),
        Type::ListType(_) => false,
    };
    if !is_plain || declared.directives().is_some() {
        return None;
    }
    match variables.get(&name) {
        Some(value) => value.as_str().map(str::to_owned),
        None => string(declared.default_value()?.value()?),
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::StringValue(literal) => Some(literal.into()),
        _ => None,
    }
}
