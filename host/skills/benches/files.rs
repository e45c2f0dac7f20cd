//! What a policy's file calls cost, on the disk that holds the temporary folder.
#![expect(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]

use std::fs;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use domain::AgentId;
use skills::{AgentFiles, FileLimits, Root};

fn files(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (skills, lora) = (dir.path().join("skills"), dir.path().join("lora"));
    let agent = AgentId::from_trusted("me").unwrap();
    for skill in 0..100 {
        let folder = skills.join(format!("me/skill-{skill:03}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), vec![b'x'; 4096]).unwrap();
    }
    fs::create_dir_all(lora.join("me/v1")).unwrap();
    fs::write(lora.join("me/v1/adapter"), vec![0; 8 << 20]).unwrap();
    let files = AgentFiles::open(&skills, &lora.join(agent.as_str()), &agent, FileLimits::default());

    let mut group = c.benchmark_group("files");
    let path = "skill-050/SKILL.md";
    group.bench_function("stat", |b| b.iter(|| files.stat(Root::Skills, black_box(path)).unwrap()));
    group.bench_function("read 4 KiB", |b| b.iter(|| files.read(Root::Skills, black_box(path), 0, 4096).unwrap()));
    group.bench_function("read 1 MiB of 8", |b| {
        b.iter(|| files.read(Root::Lora, black_box("v1/adapter"), 3 << 20, 1 << 20).unwrap());
    });
    group.bench_function("list 1", |b| b.iter(|| files.list(Root::Skills, black_box("skill-050")).unwrap()));
    group.bench_function("list 100", |b| b.iter(|| files.list(Root::Skills, black_box("")).unwrap()));
    group.bench_function("preopen 200 names", |b| b.iter(|| files.preopen(Root::Skills).unwrap()));
    group.sample_size(30);
    group.bench_function("write 4 KiB among 200 names", |b| {
        b.iter(|| files.write(Root::Skills, black_box(path), &[b'y'; 4096]).unwrap());
    });
    for file in 0..1800 {
        fs::write(skills.join(format!("me/skill-{:03}/{file}", file % 100)), "x").unwrap();
    }
    group.bench_function("write 4 KiB among 2000 names", |b| {
        b.iter(|| files.write(Root::Skills, black_box(path), &[b'y'; 4096]).unwrap());
    });
    group.finish();
}

criterion_group!(benches, files);
criterion_main!(benches);
