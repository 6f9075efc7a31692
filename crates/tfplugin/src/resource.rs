//! What a managed resource and a data source implement.
use crate::{Call, Deferred, Diagnostic, Diagnostics, IdentitySchema, Path, RawState, Schema, Type, Value, async_trait};

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    /// The state; null before a create.
    pub prior: Value,
    /// What Terraform proposes: the configuration, and the state where it is silent. The framework has applied defaults
    /// and modifiers, and in a create every computed attribute that the configuration leaves out is unknown already.
    pub proposed: Value,
    /// The configuration alone, write-only values included.
    pub config: Value,
}

/// The answer to a plan.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// The planned state.
    pub state: Value,
    /// Attributes whose change replaces the object, beside those whose schema says so.
    pub requires_replace: Vec<Path>,
    /// Kept beside the plan; `None` leaves it as it was.
    pub private: Option<Vec<u8>>,
    /// Errors stop the plan.
    pub diagnostics: Diagnostics,
    /// It cannot be planned yet.
    pub deferred: Option<Deferred>,
}

impl Planned {
    /// A plan without messages; private data stays as it was.
    #[must_use]
    pub fn of(state: Value) -> Self {
        Self { state, ..Self::default() }
    }
    /// A plan and a message.
    #[must_use]
    pub fn with(state: Value, diagnostics: impl Into<Diagnostics>) -> Self {
        Self { state, diagnostics: diagnostics.into(), ..Self::default() }
    }
}

/// The answer to create, update and delete.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The state from now on. Null says the object does not exist. A create that answers an error together with a
    /// state is tainted by Terraform, and destroyed by the next apply: answer null with an error, or state with a warning.
    pub state: Value,
    /// Kept beside the state; `None` leaves it as it was.
    pub private: Option<Vec<u8>>,
    /// The object's identity; `None` takes it from the state.
    pub identity: Option<Value>,
    /// What to say about it.
    pub diagnostics: Diagnostics,
    /// A read that cannot be done yet; create, update and delete cannot be deferred.
    pub deferred: Option<Deferred>,
}

impl Applied {
    /// A state without messages.
    #[must_use]
    pub fn of(state: Value) -> Self {
        Self { state, ..Self::default() }
    }
    /// A state and a message.
    #[must_use]
    pub fn with(state: Value, diagnostics: impl Into<Diagnostics>) -> Self {
        Self { state, diagnostics: diagnostics.into(), ..Self::default() }
    }
    /// Keeps this beside the state.
    #[must_use]
    pub fn private(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.private = Some(bytes.into());
        self
    }
}

/// The answer to read and import.
pub type Read = Applied;

/// What an import names.
#[derive(Debug, Clone, PartialEq)]
pub enum ImportKey {
    /// The text of `terraform import` or of `id` in an import block.
    Id(String),
    /// The identity of an import block.
    Identity(Value),
}

impl ImportKey {
    /// The id, or the identity's attribute of this name.
    #[must_use]
    pub fn text(&self, attribute: &str) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Identity(identity) => identity.get(attribute).as_str().unwrap_or_default(),
        }
    }
}

/// An object of another type, perhaps of another provider, that is to become one of this.
#[derive(Debug, Clone, Copy)]
pub struct MoveSource<'a> {
    /// The provider's address, such as `registry.terraform.io/hashicorp/null`.
    pub provider: &'a str,
    /// The resource's type.
    pub type_name: &'a str,
    /// The version of the schema that wrote the state.
    pub version: i64,
    /// The state.
    pub state: RawState<'a>,
    /// What that resource has left beside the state.
    pub private: &'a [u8],
    /// The identity; empty without.
    pub identity: RawState<'a>,
}

/// One kind of managed object.
#[async_trait]
pub trait Resource: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// What names an object for life, for import blocks and lists; `None` without.
    fn identity(&self) -> Option<IdentitySchema> {
        None
    }
    /// Checks a configuration without any connection, after the schema's own validators; unknown values are to be skipped.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Plans a create or an update.
    async fn plan(&self, request: PlanRequest, _call: &Call) -> Planned {
        Planned::of(request.proposed)
    }
    /// Plans a destroy; an error refuses it.
    async fn plan_delete(&self, _prior: &Value, _call: &Call) -> Diagnostics {
        Diagnostics::none()
    }
    /// Brings the state up to date; null when the object is gone.
    async fn read(&self, state: Value, call: &Call) -> Read;
    /// Creates the object.
    async fn create(&self, planned: Value, config: Value, call: &Call) -> Applied;
    /// Changes the object.
    async fn update(&self, prior: Value, planned: Value, config: Value, call: &Call) -> Applied;
    /// Deletes the object; a null state says it is done.
    async fn delete(&self, prior: Value, call: &Call) -> Applied;
    /// Finds an object for the state.
    async fn import(&self, key: &ImportKey, call: &Call) -> Read;
    /// Reads a state of an older schema version. By default attributes that are gone are dropped and new ones are null.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn upgrade(&self, _version: i64, state: RawState<'_>, of: &Type) -> Result<Value, Diagnostic> {
        state.read(of).map_err(|error| Diagnostic::error("The state cannot be read", error.to_string()))
    }
    /// Reads an identity of an older version.
    ///
    /// # Errors
    /// When the identity cannot be read.
    fn upgrade_identity(&self, _version: i64, identity: RawState<'_>, of: &Type) -> Result<Value, Diagnostic> {
        identity.read(of).map_err(|error| Diagnostic::error("The identity cannot be read", error.to_string()))
    }
    /// Takes over the state of another type, for `moved` blocks; `None` says that type cannot become this one.
    fn move_from(&self, _source: &MoveSource<'_>, _of: &Type) -> Option<Applied> {
        None
    }
}

/// Something to look up.
#[async_trait]
pub trait DataSource: Send + Sync {
    /// The schema.
    fn schema(&self) -> Schema;
    /// Checks a configuration without any connection, after the schema's own validators.
    async fn validate(&self, _config: &Value) -> Diagnostics {
        Diagnostics::none()
    }
    /// Looks it up.
    async fn read(&self, config: Value, call: &Call) -> Read;
}
