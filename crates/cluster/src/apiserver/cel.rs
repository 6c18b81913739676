//! PURE: CEL, in which definitions state rules and webhooks state conditions.
//!
//! What an expression means is told by the crate `cel`; which are taken at all is told here. One that this server cannot evaluate
//! as a real one does is refused when it is written, by name of what is not known, and so never passed over when it counts.

use cel::common::ast::{EntryExpr, Expr};
use cel::objects::Key;
use cel::{Context, Env, IdedExpr, Program, Value, extensions};
use serde_json::Value as Json;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

/// The functions that are known here and mean the same on a real server.
const FUNCTIONS: [&str; 23] = [
    "bool",
    "bytes",
    "charAt",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "replace",
    "size",
    "split",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upperAscii",
];
/// Types have names too.
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// The longest expression: what a real server takes has its bound in what it may cost, which is not counted here.
const LONGEST: usize = 8 << 10;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(extensions::strings).expect("none of the library's names is taken");
    Arc::new(env)
});

/// An expression that can be evaluated.
#[derive(Debug)]
pub(crate) struct Expression {
    program: Program,
    names: BTreeSet<String>,
}

impl Expression {
    /// Reads an expression about these variables, or says what in it is not known.
    pub(crate) fn read(text: &str, variables: &[&str]) -> Result<Expression, String> {
        if text.len() > LONGEST {
            return Err(format!("compilation failed: it is longer than {LONGEST} bytes"));
        }
        let program = ENVIRONMENT.compile(text).map_err(|cause| format!("compilation failed: {cause}"))?;
        let mut found = Found::default();
        found.walk(program.expression(), &mut Vec::new());
        let unknown = found.names.iter().find(|name| !variables.contains(&name.as_str()));
        let undeclared =
            unknown.map(|name| format!("undeclared reference to '{name}', of {}", variables.join(", ")));
        match undeclared.or(found.unknown) {
            Some(why) => Err(format!("compilation failed: {why}")),
            None => Ok(Expression { names: found.names, program }),
        }
    }

    /// Whether it is about this variable.
    pub(crate) fn mentions(&self, variable: &str) -> bool {
        self.names.contains(variable)
    }

    /// Whether it is true of these variables.
    pub(crate) fn holds(&self, variables: &[(&str, Value)]) -> Result<bool, String> {
        match self.value(variables)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("it is no bool but a {}", other.type_of())),
        }
    }

    /// The text that it makes of these variables.
    pub(crate) fn says(&self, variables: &[(&str, Value)]) -> Result<String, String> {
        match self.value(variables)? {
            Value::String(text) => Ok(text.to_string()),
            other => Err(format!("it is no string but a {}", other.type_of())),
        }
    }

    fn value(&self, variables: &[(&str, Value)]) -> Result<Value, String> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in variables {
            context.add_variable_from_value(*name, value.clone());
        }
        self.program.execute(&context).map_err(|cause| cause.to_string())
    }
}

/// What an expression is made of.
#[derive(Debug, Default)]
struct Found {
    /// Variables that it does not bind itself.
    names: BTreeSet<String>,
    /// The first thing in it that is not known here.
    unknown: Option<String>,
}

impl Found {
    fn walk<'a>(&mut self, node: &'a IdedExpr, bound: &mut Vec<&'a str>) {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !bound.contains(&name.as_str()) && !TYPES.contains(&name.as_str()) {
                    self.names.insert(name.clone());
                }
            }
            Expr::Select(select) => {
                // By such names a real server reaches fields that are no identifiers.
                if select.field.starts_with("__") {
                    self.miss(format!(
                        "the field {} is written in a way that is not supported here",
                        select.field
                    ));
                }
                self.walk(&select.operand, bound);
            }
            Expr::Call(call) => {
                let named = call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
                if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    self.miss(format!("the function {} is not supported by this server", call.func_name));
                }
                call.target.iter().for_each(|target| self.walk(target, bound));
                call.args.iter().for_each(|argument| self.walk(argument, bound));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element, bound)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.walk(&entry.key, bound);
                        self.walk(&entry.value, bound);
                    }
                }
            }
            Expr::Struct(made) => {
                self.miss(format!("{}{{}} is not supported by this server", made.type_name))
            }
            Expr::Comprehension(each) => {
                self.walk(&each.iter_range, bound);
                self.walk(&each.accu_init, bound);
                let before = bound.len();
                bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                bound.extend(each.iter_var2.as_deref());
                for part in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.walk(part, bound);
                }
                bound.truncate(before);
            }
        }
    }

    fn miss(&mut self, what: String) {
        self.unknown.get_or_insert(what);
    }
}

/// A value as expressions see it. Its schema tells whole numbers that are not meant to be; without one, they are.
pub(crate) fn value(json: &Json, schema: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64().filter(|_| schema["type"] != "number") {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => {
            let items = items.iter().map(|item| value(item, &schema["items"]));
            Value::List(Arc::new(items.collect()))
        }
        Json::Object(map) => {
            let below =
                |name: &str| schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
            let fields = map
                .iter()
                .map(|(name, field)| (Key::String(Arc::new(name.clone())), value(field, below(name))));
            Value::Map(fields.collect::<HashMap<_, _>>().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(text: &str, this: &Json, expected: Result<bool, &str>) {
        let found = Expression::read(text, &["self"]);
        let found = found.and_then(|rule| rule.holds(&[("self", value(this, &Json::Null))]));
        match (&found, expected) {
            (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
            _ => assert_eq!(found, expected.map_err(str::to_owned), "{text}"),
        }
    }

    #[test]
    fn expressions_say_what_they_mean() {
        check("self >= 1 && self <= 5", &json!(3), Ok(true));
        check("type(self) == int ? self > 1 : self.matches('^[0-9]+%$')", &json!(1), Ok(false));
        check("type(self) == int ? self > 1 : self.matches('^[0-9]+%$')", &json!("5%"), Ok(true));
        check("!self.split('/').exists(part, part == '..')", &json!("/a/../b"), Ok(false));
        check("!('*' in self) || size(self) == 1", &json!(["*", "80"]), Ok(false));
        check("(has(self.a) ? self.a : 7) == 7", &json!({}), Ok(true));
        check("self.all(key, self[key] != 'x')", &json!({"a": "y"}), Ok(true));
        check("self.map(one, one.a).exists(a, a == 2)", &json!([{"a": 1}, {"a": 2}]), Ok(true));
        check("self.a == 1.5", &json!({"a": 1.5}), Ok(true));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        check("self >", &json!(1), Err("compilation failed: "));
        check("sel == 1", &json!(1), Err("undeclared reference to 'sel', of self"));
        check("[1].exists(one, one == two)", &json!(1), Err("undeclared reference to 'two'"));
        check("url(self).getHost() == 'a'", &json!("a"), Err("the function getHost is not supported"));
        check("quantity(self).isInteger()", &json!("1"), Err("the function isInteger is not supported"));
        check("self.__dot__a", &json!({}), Err("the field __dot__a is written in a way"));
        check("google.protobuf.Empty{} == self", &json!({}), Err("is not supported by this server"));
        check("self.?a.hasValue()", &json!({}), Err("compilation failed: "));
        check(&format!("self == '{}'", "a".repeat(LONGEST)), &json!(""), Err("it is longer than 8192 bytes"));
    }

    #[test]
    fn what_goes_wrong_while_it_counts_is_told() {
        check("self.a == 1", &json!({}), Err("No such key: a"));
        check("self", &json!(1), Err("it is no bool but a int"));
        let whole = value(&json!(2), &json!({"type": "number"}));
        assert_eq!(whole, Value::Float(2.0));
        let message = Expression::read("'at most ' + string(self)", &["self"]).unwrap();
        assert_eq!(message.says(&[("self", Value::Int(2))]).as_deref(), Ok("at most 2"));
        assert!(message.mentions("self") && !message.mentions("oldSelf"));
    }
}
