//! The table of kinds that this API server knows; anything else is 404, as on a server without that CRD.

/// One kind of object. The plural is unique in the table and is the storage key.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// API version within the group.
    pub version: &'static str,
    /// Name of the kind, as in manifests.
    pub kind: &'static str,
    /// Path segment.
    pub plural: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `status` is a subresource of its own.
    pub status: bool,
}

impl Kind {
    /// `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural` or `plural.group`, as error messages name a resource.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }
}

macro_rules! kinds {
    ($($name:ident = $group:literal $version:literal $kind:literal $plural:literal $scope:ident $status:ident;)*) => {
        $(#[doc = concat!("`", $plural, "`")] pub static $name: Kind = Kind {
            group: $group, version: $version, kind: $kind, plural: $plural,
            namespaced: kinds!($scope), status: kinds!($status),
        };)*
        /// Every kind served.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
    (namespaced) => { true }; (cluster) => { false };
    (with_status) => { true }; (plain) => { false };
}

kinds! {
    NAMESPACES = "" "v1" "Namespace" "namespaces" cluster with_status;
    SECRETS = "" "v1" "Secret" "secrets" namespaced plain;
    SERVICES = "" "v1" "Service" "services" namespaced with_status;
    CONFIG_MAPS = "" "v1" "ConfigMap" "configmaps" namespaced plain;
    PODS = "" "v1" "Pod" "pods" namespaced with_status;
    VOLUME_CLAIMS = "" "v1" "PersistentVolumeClaim" "persistentvolumeclaims" namespaced with_status;
    VOLUMES = "" "v1" "PersistentVolume" "persistentvolumes" cluster with_status;
    SERVICE_ACCOUNTS = "" "v1" "ServiceAccount" "serviceaccounts" namespaced plain;
    NODES = "" "v1" "Node" "nodes" cluster with_status;
    EVENTS = "" "v1" "Event" "events" namespaced plain;
    DEPLOYMENTS = "apps" "v1" "Deployment" "deployments" namespaced with_status;
    JOBS = "batch" "v1" "Job" "jobs" namespaced with_status;
    NETWORK_POLICIES = "networking.k8s.io" "v1" "NetworkPolicy" "networkpolicies" namespaced plain;
    STORAGE_CLASSES = "storage.k8s.io" "v1" "StorageClass" "storageclasses" cluster plain;
    DISRUPTION_BUDGETS = "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" namespaced with_status;
    LEASES = "coordination.k8s.io" "v1" "Lease" "leases" namespaced plain;
    ROLES = "rbac.authorization.k8s.io" "v1" "Role" "roles" namespaced plain;
    ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "RoleBinding" "rolebindings" namespaced plain;
    CRDS = "apiextensions.k8s.io" "v1" "CustomResourceDefinition" "customresourcedefinitions" cluster with_status;
    CLUSTERS = "postgresql.cnpg.io" "v1" "Cluster" "clusters" namespaced with_status;
    POOLERS = "postgresql.cnpg.io" "v1" "Pooler" "poolers" namespaced with_status;
    BACKUPS = "postgresql.cnpg.io" "v1" "Backup" "backups" namespaced with_status;
    SCHEDULED_BACKUPS = "postgresql.cnpg.io" "v1" "ScheduledBackup" "scheduledbackups" namespaced with_status;
    DATABASES = "postgresql.cnpg.io" "v1" "Database" "databases" namespaced with_status;
    IMAGE_CATALOGS = "postgresql.cnpg.io" "v1" "ImageCatalog" "imagecatalogs" namespaced plain;
    OBJECT_STORES = "barmancloud.cnpg.io" "v1" "ObjectStore" "objectstores" namespaced with_status;
    VOLUME_SNAPSHOTS = "snapshot.storage.k8s.io" "v1" "VolumeSnapshot" "volumesnapshots" namespaced with_status;
}

/// The kind served at a group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// The kind of a plural alone, as stored rows name it.
pub(crate) fn by_plural(plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|k| k.plural == plural)
}
