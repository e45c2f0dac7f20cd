//! What policies keep: the last word counts, each agent's apart, and all of it goes with its agent.

use super::*;

#[tokio::test]
async fn values_are_kept_replaced_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (a, b) = (agent("a"), agent("b"));
    let some = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    store.keep_values(&a, vec![some("x", b"1"), some("y", b"2"), some("x", b"3")]).await.unwrap();
    store.keep_values(&b, vec![some("x", b"b")]).await.unwrap();
    store
        .keep_values(&a, vec![("y".to_owned(), None), ("never".to_owned(), None), some("z", &[0, 255])])
        .await
        .unwrap();
    store.flush().await.unwrap();
    let kept = [("x".to_owned(), b"3".to_vec()), ("z".to_owned(), vec![0, 255])];
    assert_eq!(store.values(&a).await.unwrap(), kept);
    store.close().await;

    let store = open(dir.path()).await;
    assert_eq!(store.values(&a).await.unwrap(), kept, "after a restart");
    store.keep_values(&a, vec![some("x", b"4"), ("z".to_owned(), None)]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.values(&a).await.unwrap(), [("x".to_owned(), b"4".to_vec())]);
    store.purge(&a).await.unwrap();
    assert_eq!(store.values(&a).await.unwrap(), []);
    assert_eq!(store.values(&b).await.unwrap(), [("x".to_owned(), b"b".to_vec())]);
    store.close().await;
}
