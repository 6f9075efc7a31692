//! One module in a folder of its own, and a client to run on it.
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The client under which the examples run.
#[derive(Clone)]
pub struct Client {
    pub program: PathBuf,
    /// `terraform` or `tofu`.
    tofu: bool,
    version: Vec<u32>,
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

/// The client that TFPLUGIN_CLIENT names, else Terraform; said when there is none.
pub fn client() -> Option<Client> {
    let program = PathBuf::from(std::env::var_os("TFPLUGIN_CLIENT").unwrap_or_else(|| "terraform".into()));
    // A configuration that is named and missing is a warning before the JSON.
    let Ok(output) = Command::new(&program).args(["version", "-json"]).env_remove("TF_CLI_CONFIG_FILE").stderr(Stdio::null()).output() else {
        println!("skipped: the examples under a client: {} is not installed", program.display());
        return None;
    };
    let json: Json = serde_json::from_slice(&output.stdout).unwrap();
    let tofu = program.file_name().is_some_and(|name| name.to_string_lossy().contains("tofu"));
    Some(Client { program, tofu, version: numbers(json["terraform_version"].as_str().unwrap()) })
}

impl Client {
    /// OpenTofu, or else Terraform.
    pub fn is_tofu(&self) -> bool {
        self.tofu
    }
}

/// Whether the client has something that came with these versions; said when it has not.
pub fn since(client: &Client, what: &str, terraform: &str, tofu: &str) -> bool {
    let first = if client.tofu { tofu } else { terraform };
    let has = client.version >= numbers(first);
    if !has {
        let (name, version) =
            (if client.tofu { "OpenTofu" } else { "Terraform" }, client.version.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
        println!("skipped: {what} under a client: {name} {version} is here, it takes {first}");
    }
    has
}

pub fn write(path: PathBuf, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// A folder with a module and the example providers at hand.
pub struct Folder {
    client: Client,
    folder: tempfile::TempDir,
}

impl Folder {
    pub fn new(client: Client, main: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::fs::create_dir_all(folder.path().join("shelf")).unwrap();
        for (name, example) in [("terraform-provider-notes", "minimal"), ("terraform-provider-sink", "kitchen-sink")] {
            std::os::unix::fs::symlink(crate::support::example(example), plugins.join(name)).unwrap();
        }
        let overrides = ["examples/notes", "examples/sink"].map(|source| format!("    \"{source}\" = {plugins:?}\n")).concat();
        let settings = format!("provider_installation {{\n  dev_overrides {{\n{overrides}  }}\n  direct {{}}\n}}\n");
        write(folder.path().join("settings.tfrc"), &settings);
        write(folder.path().join("main.tf"), main);
        Self { client, folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names in a folder with this ending.
    pub fn names(&self, folder: &str, ending: &str) -> Vec<String> {
        let names = std::fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
        names.sort();
        names
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client.program);
        command.args(arguments).current_dir(self.folder.path()).env("TF_CLI_ARGS", "-no-color").env("TF_IN_AUTOMATION", "1");
        if arguments == ["version"] || arguments.first() == Some(&"output") {
            command.env_remove("TF_CLI_ARGS");
        }
        let settings: &Path = &self.path("settings.tfrc");
        command.env("TF_CLI_CONFIG_FILE", settings).env("HOME", self.folder.path()).env("CHECKPOINT_DISABLE", "1").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        // Long lines are wrapped by the client, and framed.
        let plain = text.lines().map(|line| line.trim_start_matches(['│', '╷', '╵', ' '])).collect::<Vec<_>>();
        (status.success(), if status.success() { text } else { plain.join(" ") })
    }

    pub fn good(&self, arguments: &[&str]) -> String {
        let (good, text) = self.run(arguments);
        assert!(good, "{arguments:?}: {text}");
        text
    }

    pub fn bad(&self, arguments: &[&str]) -> String {
        let (good, text) = self.run(arguments);
        assert!(!good, "{arguments:?} should fail: {text}");
        text
    }

    pub fn output(&self, name: &str) -> Json {
        serde_json::from_str(&self.good(&["output", "-json", name])).unwrap()
    }

    /// Nothing is to be done.
    pub fn unchanged(&self) {
        let text = self.good(&["plan"]);
        assert!(text.contains("No changes"), "{text}");
    }
}
