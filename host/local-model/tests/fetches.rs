mod common;
#[test]
fn it_is_there() {
    let model = common::model();
    let prompt = model.encode(&[local_model::ChatMessage::new("user", "What is the capital of France?")], None).unwrap();
    println!("{prompt:?} {:?}", model.decode(&prompt));
}
