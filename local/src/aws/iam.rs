//! IAM: roles, their inline policies and tags, and OpenID Connect providers.

mod policies;

use std::collections::BTreeMap;

use axum::extract::State as Extract;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use axum::{Router, body::Bytes};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::access::{Access, Caller, Role, role_key};
use super::policy::{self, Context};
use super::query::{Fault, Form, answer, element, instant, tags_element};

/// Longest role name.
const ROLE_NAME_CHARS_MAX: usize = 64;
/// Characters of all inline policies of one role.
const POLICIES_CHARS_MAX: usize = 10_240;
/// Longest trust policy (the default quota).
const TRUST_CHARS_MAX: usize = 2_048;
/// Most tags of one role.
const TAGS_MAX: usize = 50;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Provider {
    url: String,
    client_ids: Vec<String>,
    thumbprints: Vec<String>,
    tags: BTreeMap<String, String>,
    created_ms: i64,
}

pub(crate) fn router(access: Access) -> Router {
    Router::new().route("/", post(handle)).with_state(access)
}

async fn handle(Extract(access): Extract<Access>, headers: HeaderMap, body: Bytes) -> Response {
    let form = Form::parse(&String::from_utf8_lossy(&body));
    let action = form.get("Action").unwrap_or_default().to_owned();
    let result = access.caller(&headers).and_then(|caller| Iam { access, caller, form }.call(&action));
    match result {
        Ok(result) => answer(&action, &result),
        Err(fault) => fault.xml(),
    }
}

struct Iam {
    access: Access,
    caller: Caller,
    form: Form,
}

impl Iam {
    fn call(&self, action: &str) -> Result<String, Fault> {
        match action {
            "CreateRole" => self.create_role(),
            "ListRoles" => self.list_roles(),
            "GetRole" => self.allowed_role(action).map(|role| self.role_element(&role)),
            "DeleteRole" => self.delete_role(),
            "PutRolePolicy" => self.put_role_policy(),
            "GetRolePolicy" => self.get_role_policy(),
            "DeleteRolePolicy" => self.delete_role_policy(),
            "ListRolePolicies" => self.list_role_policies(),
            "TagRole" => self.tag_role(),
            "ListRoleTags" => {
                let role = self.allowed_role(action)?;
                Ok(format!("{}<IsTruncated>false</IsTruncated>", tags_element(&role.tags)))
            }
            "UpdateAssumeRolePolicy" => self.update_trust(),
            "CreateOpenIDConnectProvider" => self.create_provider(),
            "GetOpenIDConnectProvider" => self.get_provider(),
            "ListOpenIDConnectProviders" => self.list_providers(),
            "CreatePolicy" => self.create_policy(),
            "GetPolicy" => self.get_policy(),
            "AttachRolePolicy" => self.attach_role_policy(),
            "ListAttachedRolePolicies" => self.list_attached_role_policies(),
            "SimulatePrincipalPolicy" => self.simulate_principal_policy(),
            _ => Err(Fault::new("InvalidAction", format!("{action} is not offered locally"))),
        }
    }

    fn name(&self) -> Result<&str, Fault> {
        let name = self.form.required("RoleName")?;
        let sound = name.len() <= ROLE_NAME_CHARS_MAX && name.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c));
        if sound { Ok(name) } else { Err(Fault::new("ValidationError", "roleName is invalid or longer than 64")) }
    }

    /// The role, once the caller is known to be allowed the action on it.
    fn allowed_role(&self, action: &str) -> Result<Role, Fault> {
        let name = self.name()?;
        let role = self.access.role(name)?;
        let mut context = Context::new();
        let mut arn = format!("arn:aws:iam::{}:role/{name}", self.access.account);
        if let Some(role) = &role {
            arn = role.arn(&self.access.account);
            for (key, value) in &role.tags {
                context.insert(format!("aws:resourcetag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
                context.insert(format!("iam:resourcetag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
            }
            if let Some(boundary) = &role.boundary {
                context.insert("iam:permissionsboundary".into(), vec![boundary.clone()]);
            }
        }
        self.request_tags(&mut context);
        self.access.check(&self.caller, &format!("iam:{action}"), &arn, &context)?;
        role.ok_or_else(|| Fault::new("NoSuchEntity", format!("The role with name {name} cannot be found.")))
    }

    fn request_tags(&self, context: &mut Context) {
        let tags = self.form.tags();
        for (key, value) in &tags {
            context.insert(format!("aws:requesttag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
        }
        if !tags.is_empty() {
            context.insert("aws:tagkeys".into(), tags.into_keys().collect());
        }
    }

    fn save(&self, role: &Role) -> Result<(), Fault> {
        Ok(self.access.state.put(&role_key(&role.name), role)?)
    }

    fn trust(&self, field: &str) -> Result<String, Fault> {
        let text = self.form.required(field)?;
        if text.chars().filter(|c| !c.is_whitespace()).count() > TRUST_CHARS_MAX {
            return Err(Fault::new("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"));
        }
        if policy::parse(text).is_none() {
            return Err(Fault::new("MalformedPolicyDocument", "Syntax errors in policy."));
        }
        Ok(text.to_owned())
    }

    fn create_role(&self) -> Result<String, Fault> {
        let name = self.name()?;
        let path = self.form.get("Path").unwrap_or("/").to_owned();
        let boundary = self.form.get("PermissionsBoundary").map(str::to_owned);
        let mut context = Context::new();
        self.request_tags(&mut context);
        if let Some(boundary) = &boundary {
            context.insert("iam:permissionsboundary".into(), vec![boundary.clone()]);
        }
        let arn = format!("arn:aws:iam::{}:role{path}{name}", self.access.account);
        self.access.check(&self.caller, "iam:CreateRole", &arn, &context)?;
        let tags = self.form.tags();
        if !tags.is_empty() {
            self.access.check(&self.caller, "iam:TagRole", &arn, &context)?;
        }
        let trust = self.trust("AssumeRolePolicyDocument")?;
        if self.access.role(name)?.is_some() {
            return Err(Fault::new("EntityAlreadyExists", format!("Role with name {name} already exists.")));
        }
        let seconds = self.form.get("MaxSessionDuration").and_then(|text| text.parse().ok()).unwrap_or(3_600);
        if !(3_600..=43_200).contains(&seconds) {
            return Err(Fault::new("ValidationError", "maxSessionDuration must lie between 3600 and 43200"));
        }
        let role = Role {
            name: name.to_owned(),
            path,
            id: format!("AROA{}", super::random_hex(8)?.to_ascii_uppercase()),
            trust,
            description: self.form.get("Description").unwrap_or_default().to_owned(),
            session_seconds_max: seconds,
            boundary,
            tags,
            policies: BTreeMap::new(),
            created_ms: (self.access.now_ms)(),
        };
        self.save(&role)?;
        Ok(self.role_element(&role))
    }

    fn delete_role(&self) -> Result<String, Fault> {
        let role = self.allowed_role("DeleteRole")?;
        if !role.policies.is_empty() {
            return Err(Fault::new("DeleteConflict", "Cannot delete entity, must delete policies first."));
        }
        self.access.state.delete(&role_key(&role.name))?;
        Ok(String::new())
    }

    fn put_role_policy(&self) -> Result<String, Fault> {
        let mut role = self.allowed_role("PutRolePolicy")?;
        let name = self.form.required("PolicyName")?;
        let text = self.form.required("PolicyDocument")?;
        if policy::parse(text).is_none() {
            return Err(Fault::new("MalformedPolicyDocument", "Syntax errors in policy."));
        }
        role.policies.insert(name.to_owned(), text.to_owned());
        let size: usize = role.policies.values().map(|text| text.chars().filter(|c| !c.is_whitespace()).count()).sum();
        if size > POLICIES_CHARS_MAX {
            return Err(Fault::new("LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role"));
        }
        self.save(&role)?;
        Ok(String::new())
    }

    fn get_role_policy(&self) -> Result<String, Fault> {
        let role = self.allowed_role("GetRolePolicy")?;
        let name = self.form.required("PolicyName")?;
        let text = role.policies.get(name).ok_or_else(|| no_policy(name))?;
        Ok(format!("{}{}{}", element("RoleName", &role.name), element("PolicyName", name), element("PolicyDocument", &url_encoded(text))))
    }

    fn delete_role_policy(&self) -> Result<String, Fault> {
        let mut role = self.allowed_role("DeleteRolePolicy")?;
        let name = self.form.required("PolicyName")?;
        if role.policies.remove(name).is_none() {
            return Err(no_policy(name));
        }
        self.save(&role)?;
        Ok(String::new())
    }

    fn list_role_policies(&self) -> Result<String, Fault> {
        let role = self.allowed_role("ListRolePolicies")?;
        let names: String = role.policies.keys().map(|name| element("member", name)).collect();
        Ok(format!("<PolicyNames>{names}</PolicyNames><IsTruncated>false</IsTruncated>"))
    }

    fn tag_role(&self) -> Result<String, Fault> {
        let mut role = self.allowed_role("TagRole")?;
        role.tags.extend(self.form.tags());
        if role.tags.len() > TAGS_MAX {
            return Err(Fault::new("LimitExceeded", format!("a role has at most {TAGS_MAX} tags")));
        }
        self.save(&role)?;
        Ok(String::new())
    }

    fn update_trust(&self) -> Result<String, Fault> {
        let mut role = self.allowed_role("UpdateAssumeRolePolicy")?;
        role.trust = self.trust("PolicyDocument")?;
        self.save(&role)?;
        Ok(String::new())
    }

    fn role_element(&self, role: &Role) -> String {
        let boundary = role.boundary.as_deref().map(|arn| {
            format!(
                "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType>{}\
                 </PermissionsBoundary>",
                element("PermissionsBoundaryArn", arn)
            )
        });
        let fields = [
            element("Path", &role.path),
            element("RoleName", &role.name),
            element("RoleId", &role.id),
            element("Arn", &role.arn(&self.access.account)),
            element("CreateDate", &instant(role.created_ms)),
            element("AssumeRolePolicyDocument", &url_encoded(&role.trust)),
            element("Description", &role.description),
            element("MaxSessionDuration", &role.session_seconds_max.to_string()),
            boundary.unwrap_or_default(),
            tags_element(&role.tags),
        ];
        format!("<Role>{}</Role>", fields.concat())
    }

    /// Every role, as AWS lists them: without their tags.
    fn list_roles(&self) -> Result<String, Fault> {
        let any = format!("arn:aws:iam::{}:role/*", self.access.account);
        self.access.check(&self.caller, "iam:ListRoles", &any, &Context::new())?;
        let path = self.form.get("PathPrefix").unwrap_or("/");
        let roles = self.access.state.list::<Role>(&role_key(""))?.into_iter().map(|(_, role)| role).filter(|role| role.path.starts_with(path));
        let of =
            |role: Role| self.role_element(&Role { tags: BTreeMap::new(), ..role }).replace("<Role>", "<member>").replace("</Role>", "</member>");
        Ok(format!("<Roles>{}</Roles><IsTruncated>false</IsTruncated>", roles.map(of).collect::<String>()))
    }

    fn create_provider(&self) -> Result<String, Fault> {
        let url = self.form.required("Url")?;
        // The local cluster's issuer is on loopback, without TLS.
        let Some(host) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://").filter(|host| host.starts_with("127.0.0.1"))) else {
            return Err(Fault::new("InvalidInput", "Invalid Open ID Connect Provider URL"));
        };
        let arn = self.provider_arn(host);
        let mut context = Context::new();
        self.request_tags(&mut context);
        self.access.check(&self.caller, "iam:CreateOpenIDConnectProvider", &arn, &context)?;
        if self.access.state.get::<Provider>(&provider_key(&arn))?.is_some() {
            return Err(Fault::new("EntityAlreadyExists", format!("Provider with url {url} already exists.")));
        }
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect();
        let provider = Provider {
            url: host.to_owned(),
            client_ids: owned(self.form.members("ClientIDList")),
            thumbprints: owned(self.form.members("ThumbprintList")),
            tags: self.form.tags(),
            created_ms: (self.access.now_ms)(),
        };
        self.access.state.put(&provider_key(&arn), &provider)?;
        Ok(format!("{}{}", element("OpenIDConnectProviderArn", &arn), tags_element(&provider.tags)))
    }

    fn get_provider(&self) -> Result<String, Fault> {
        let arn = self.form.required("OpenIDConnectProviderArn")?;
        self.access.check(&self.caller, "iam:GetOpenIDConnectProvider", arn, &Context::new())?;
        let provider: Provider = self
            .access
            .state
            .get(&provider_key(arn))?
            .ok_or_else(|| Fault::new("NoSuchEntity", format!("OpenIDConnect Provider not found for arn {arn}")))?;
        let members = |values: &[String]| values.iter().map(|value| element("member", value)).collect::<String>();
        Ok(format!(
            "{}<ClientIDList>{}</ClientIDList><ThumbprintList>{}</ThumbprintList>{}{}",
            element("Url", &provider.url),
            members(&provider.client_ids),
            members(&provider.thumbprints),
            element("CreateDate", &instant(provider.created_ms)),
            tags_element(&provider.tags)
        ))
    }

    fn list_providers(&self) -> Result<String, Fault> {
        let any = format!("arn:aws:iam::{}:oidc-provider/*", self.access.account);
        self.access.check(&self.caller, "iam:ListOpenIDConnectProviders", &any, &Context::new())?;
        let providers = self.access.state.list::<Provider>("oidc/")?;
        let members: String =
            providers.iter().map(|(key, _)| format!("<member>{}</member>", element("Arn", key.trim_start_matches("oidc/")))).collect();
        Ok(format!("<OpenIDConnectProviderList>{members}</OpenIDConnectProviderList>"))
    }

    fn provider_arn(&self, host: &str) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{host}", self.access.account)
    }
}

fn provider_key(arn: &str) -> String {
    format!("oidc/{arn}")
}

fn no_policy(name: &str) -> Fault {
    Fault::new("NoSuchEntity", format!("The role policy with name {name} cannot be found."))
}

fn url_encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
