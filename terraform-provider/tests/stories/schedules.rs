//! Power schedules under the real Terraform.
use super::*;

/// A schedule of `kiven_database.this`.
fn scheduled(schedule: &str) -> String {
    format!(
        "{}resource \"kiven_power_schedule\" \"this\" {{\n  database_ids = [kiven_database.this.id]\n  time_zone = \"UTC\"\n{schedule}\n}}\n",
        module(SHOP)
    )
}

fn window(start: &str, end: &str) -> String {
    format!("{{ days = [\"mon\"], start = \"{start}\", end = \"{end}\" }}")
}

#[tokio::test]
async fn the_schedule_example_is_made_and_what_it_does_is_no_drift() {
    if !there_is_a_client() {
        return;
    }
    let example = |name| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/schedule").join(name)).unwrap();
    let terraform = Terraform::new(&[("main.tf", &example("main.tf")), ("variables.tf", &example("variables.tf"))]).await;
    let said = terraform.apply(&[]).await;
    assert!(said.contains("hours_per_week = 50") && said.contains("savings_percent = 70.2"), "{said}");
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    let state = terraform.state("kiven_power_schedule.office_hours").await.unwrap();
    // The fake's clock stands at the beginning of 1970, a Thursday.
    assert_eq!((&state["next_on"], &state["next_off"]), (&"1970-01-01T07:00:00Z".into(), &"1970-01-01T17:00:00Z".into()));
    assert_eq!(state["exceptions"][1]["on"], Json::Null);

    // Time goes on, the schedule pauses, is pausing, resumes: nothing for Terraform to do.
    for (hours, status) in
        [(18, DatabaseStatus::Paused), (18, DatabaseStatus::Pausing), (31, DatabaseStatus::Resuming), (36, DatabaseStatus::Available)]
    {
        terraform.fake.with(|world| {
            world.hours = hours;
            world.databases.values_mut().for_each(|database| database.status = status);
        });
        assert_eq!(terraform.plan(&[]).await, NO_CHANGES, "{status}");
    }
    terraform.apply(&["-refresh-only"]).await;
    let state = terraform.state("kiven_power_schedule.office_hours").await.unwrap();
    assert_eq!(state["next_on"], "1970-01-05T07:00:00Z");
    let database = terraform.state("kiven_database.this").await.unwrap();
    assert_eq!((&database["power"], &database["schedule_id"]), (&"on".into(), &state["id"]));

    terraform.apply(&["-destroy", "-target=kiven_power_schedule.office_hours"]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Available);
    terraform.fake.with(|world| assert!(world.schedules.is_empty()));
    terraform.apply(&["-destroy"]).await;
}

#[tokio::test]
async fn a_schedule_is_changed_in_place_and_imported() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::new(&[("main.tf", &scheduled(&format!("  windows = [{}]", window("08:00", "18:00"))))]).await;
    terraform.apply(&[]).await;
    let id = terraform.state("kiven_power_schedule.this").await.unwrap()["id"].as_str().unwrap().to_owned();
    let changed = format!("  windows = [{}]\n  exceptions = []\n  enabled = false", window("10:00", "11:00"));
    std::fs::write(terraform.folder.path().join("main.tf"), scheduled(&changed)).unwrap();
    let said = terraform.apply(&[]).await;
    assert!(said.contains("0 added, 1 changed, 0 destroyed"), "{said}");
    let state = terraform.state("kiven_power_schedule.this").await.unwrap();
    assert_eq!((&state["id"], &state["hours_per_week"], &state["next_on"]), (&id.clone().into(), &1.into(), &Json::Null));
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    assert!(terraform.run(&["state", "rm", "kiven_power_schedule.this"]).await.status.success());
    let imported = terraform.run(&["import", "-no-color", "kiven_power_schedule.this", &id]).await;
    assert!(imported.status.success(), "{}", words(&imported));
    let main = scheduled(&format!("  windows = [{}]\n  enabled = false", window("10:00", "11:00")));
    std::fs::write(terraform.folder.path().join("main.tf"), main).unwrap();
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_refused_on_its_line() {
    if !there_is_a_client() {
        return;
    }
    let overlap = format!("  windows = [{}, {}]", window("08:00", "18:00"), window("17:00", "19:00"));
    let terraform = Terraform::new(&[("main.tf", &scheduled(&overlap))]).await;
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-127: `windows.1`", "windows = [");
    std::fs::write(terraform.folder.path().join("main.tf"), scheduled(&overlap).replace("UTC", "Europe/Pariss")).unwrap();
    on_line_of(&terraform.refused(&[]).await, "KV-125", "time_zone = \"Europe/Pariss\"");

    // A second schedule: both new, so the API refuses it at apply; known and there, so the plan does.
    let one = scheduled(&format!("  windows = [{}]", window("08:00", "18:00")));
    let depends = "  depends_on = [kiven_power_schedule.this]\n";
    let two =
        format!("{one}{}", one[one.find("resource \"kiven_power_schedule\"").unwrap()..].replace("\"this\" {", &format!("\"two\" {{\n{depends}")));
    std::fs::write(terraform.folder.path().join("main.tf"), &two).unwrap();
    let output = terraform.run(&["apply", "-auto-approve", "-no-color"]).await;
    assert_eq!(output.status.code(), Some(1));
    on_line_of(&words(&output), "KV-214", "database_ids = [kiven_database.this.id]");
    assert!(terraform.state("kiven_power_schedule.two").await.is_none());
    let id = terraform.state("kiven_power_schedule.this").await.unwrap()["id"].as_str().unwrap().to_owned();
    let said = terraform.refused(&[]).await;
    on_line_of(&said, "KV-214", "database_ids = [kiven_database.this.id]");
    assert!(said.contains(&format!("import kiven_power_schedule.NAME {id}")), "{said}");
    terraform.fake.with(|world| assert_eq!(world.schedules.len(), 1));
}

#[tokio::test]
async fn a_power_that_is_changed_in_hcl_is_switched_by_hand() {
    if !there_is_a_client() {
        return;
    }
    let schedule = scheduled(&format!("  windows = [{}]", window("08:00", "18:00")));
    let terraform = Terraform::new(&[("main.tf", &schedule)]).await;
    terraform.apply(&[]).await;
    std::fs::write(terraform.folder.path().join("main.tf"), schedule.replace(SHOP, &format!("{SHOP}\n  power = \"off\""))).unwrap();
    terraform.apply(&[]).await;
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Paused);
    // The schedule's next window opens: it is on, the wish is kept, and that is no drift either.
    terraform.fake.with(|world| world.databases.values_mut().for_each(|database| database.status = DatabaseStatus::Available));
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
}

#[tokio::test]
async fn what_is_changed_at_night_is_kept_until_the_schedule_switches_it_on() {
    if !there_is_a_client() {
        return;
    }
    // The fake's clock stands at the beginning of 1970, a Thursday; the next Monday is the fifth.
    let schedule = scheduled(&format!("  windows = [{}]", window("08:00", "18:00")));
    let terraform = Terraform::new(&[("main.tf", &schedule)]).await;
    terraform.apply(&[]).await;
    terraform.fake.with(|world| {
        world.databases.values_mut().for_each(|database| {
            (database.status, database.switched_by_schedule, database.applied) = (DatabaseStatus::Paused, true, Some(database.spec.clone()));
        });
    });
    std::fs::write(terraform.folder.path().join("main.tf"), schedule.replace(SHOP, &format!("{SHOP}\n  storage_gb = 70"))).unwrap();
    let said = words(&terraform.run(&["plan", "-no-color"]).await);
    assert!(said.contains("is kept until it is switched on") && said.contains("1970-01-05T08:00:00Z"), "{said}");
    // The schedule goes, and leaves the power as it is: that is no drift.
    std::fs::write(terraform.folder.path().join("main.tf"), module(SHOP)).unwrap();
    terraform.apply(&[]).await;
    terraform.fake.with(|world| assert!(world.schedules.is_empty()));
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    assert_eq!(terraform.fake.database().status, DatabaseStatus::Paused);
}
