//! Maintenance windows, and what a destroy of the connection does, under the real Terraform.
use super::*;

fn windowed(window: &str) -> String {
    module(&format!("{SHOP}\n  maintenance_window = {window}"))
}

#[tokio::test]
async fn a_maintenance_window_is_kept_changed_in_place_and_refused_on_its_line() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&[]).await;
    let state = async || terraform.state("kiven_database.this").await.unwrap()["maintenance_window"].clone();
    let default = serde_json::json!({ "days": ["sun"], "start": "02:00", "end": "04:00", "time_zone": "UTC" });
    assert_eq!(state().await, default);

    std::fs::write(
        terraform.folder.path().join("main.tf"),
        windowed(r#"{ days = ["sat", "mon"], start = "23:30", end = "01:00", time_zone = "Europe/Paris" }"#),
    )
    .unwrap();
    let said = terraform.apply(&[]).await;
    assert!(said.contains("0 added, 1 changed, 0 destroyed"), "{said}");
    let window = state().await;
    assert_eq!((&window["start"], &window["end"], &window["time_zone"]), (&"23:30".into(), &"01:00".into(), &"Europe/Paris".into()));
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES, "the order of days is no difference");

    let short = r#"{ start = "02:00", end = "02:10" }"#;
    std::fs::write(terraform.folder.path().join("main.tf"), windowed(short)).unwrap();
    on_line_of(&terraform.refused(&[]).await, "KV-134", "maintenance_window = { start");
}

#[tokio::test]
async fn what_a_destroy_does_is_changed_in_place_and_checked_at_plan() {
    if !there_is_a_client() {
        return;
    }
    let terraform = Terraform::of_database(SHOP).await;
    terraform.apply(&[]).await;
    let told = |word: &str| module(SHOP).replace("launch_template = ", &format!("on_destroy = \"{word}\"\n  launch_template = "));
    assert_eq!(terraform.state("kiven_environment_connection.this").await.unwrap()["on_destroy"], "refuse");
    std::fs::write(terraform.folder.path().join("main.tf"), told("destroy")).unwrap();
    let said = terraform.apply(&[]).await;
    assert!(said.contains("0 added, 1 changed, 0 destroyed"), "{said}");
    assert_eq!(terraform.plan(&[]).await, NO_CHANGES);
    std::fs::write(terraform.folder.path().join("main.tf"), told("keep")).unwrap();
    on_line_of(&terraform.refused(&[]).await, "KV-115", "on_destroy = \"keep\"");
}
