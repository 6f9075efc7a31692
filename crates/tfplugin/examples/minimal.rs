//! A small whole provider: one resource, a text file.
use kiven_tfplugin::{Applied, Attr, Call, Diagnostic, Diagnostics, ImportKey, Modifier, Named, Provider, Read, Resource, Schema, Value};
use kiven_tfplugin::{async_trait, run_provider};
use std::{fs, io, sync::Arc};

struct Notes;
struct Note;
#[async_trait]
impl Provider for Notes {
    fn schema(&self) -> Schema {
        Schema::new(0)
    }
    fn resources(&self) -> Named<dyn Resource> {
        vec![("notes_note", Arc::new(Note))]
    }
    async fn configure(&self, _: Value, _: &str) -> Diagnostics {
        Diagnostics::none()
    }
}

fn write(planned: Value) -> io::Result<Value> {
    fs::write(planned.get("path").as_str().unwrap_or_default(), planned.get("text").as_str().unwrap_or_default()).map(|()| planned)
}

fn answer(done: io::Result<Value>, kept: Value) -> Applied {
    match done {
        Ok(state) => Applied::of(state),
        Err(error) => Applied::with(kept, Diagnostic::error("The note cannot be kept", error.to_string())),
    }
}

#[async_trait]
impl Resource for Note {
    fn schema(&self) -> Schema {
        Schema::new(0)
            .attr(Attr::string("path").required().plan(Modifier::requires_replace()).describe("Where it is kept."))
            .attr(Attr::string("text").required().describe("What it says."))
    }
    async fn read(&self, mut state: Value, _: &Call) -> Read {
        let Ok(text) = fs::read_to_string(state.get("path").as_str().unwrap_or_default()) else { return Read::default() };
        state.set("text", text);
        Read::of(state)
    }
    async fn create(&self, planned: Value, _: Value, _: &Call) -> Applied {
        answer(write(planned), Value::Null)
    }
    async fn update(&self, prior: Value, planned: Value, _: Value, _: &Call) -> Applied {
        answer(write(planned), prior)
    }
    async fn delete(&self, prior: Value, _: &Call) -> Applied {
        answer(fs::remove_file(prior.get("path").as_str().unwrap_or_default()).map(|()| Value::Null), prior)
    }
    async fn import(&self, key: &ImportKey, call: &Call) -> Read {
        self.read(Value::object([("path", key.text("path").into())]), call).await
    }
}

fn main() -> std::process::ExitCode {
    run_provider("registry.terraform.io/examples/notes", Notes, &[])
}
