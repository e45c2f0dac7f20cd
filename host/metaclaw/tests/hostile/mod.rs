//! Valid components that cost a compiler far more than a reader.

use wasm_encoder::{
    BlockType, CodeSection, Component, Function, FunctionSection, MemArg, MemorySection, MemoryType, Module,
    ModuleSection, TypeSection, ValType,
};

/// One function with so many operations over 2,000 locals, all of them alive to the end: ten bytes each.
pub(crate) fn live_locals(operations: u32) -> Vec<u8> {
    const LOCALS: u32 = 2_000;
    // Where a local comes from, and where it goes: what is in memory, the compiler cannot know.
    let place = |local: u32| (local.cast_signed() * 4, MemArg { offset: 0, align: 2, memory_index: 0 });
    let mut function = Function::new([(LOCALS, ValType::I32)]);
    let mut code = function.instructions();
    for local in 0..LOCALS {
        let (address, memory) = place(local);
        code.i32_const(address).i32_load(memory).local_set(local);
    }
    let mut random = 1_u32;
    let mut pick = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % LOCALS
    };
    for _ in 0..operations {
        code.local_get(pick()).local_get(pick()).i32_add().local_set(pick());
    }
    for local in 0..LOCALS {
        let (address, memory) = place(local);
        code.i32_const(address).local_get(local).i32_store(memory);
    }
    code.end();
    component(&[function])
}

/// So many loops, each in the one before, around code that changes 1,000 locals: the compiler keeps track of every local
/// in every loop, which is a million times what the module's length suggests.
pub(crate) fn nested_loops(depth: u32) -> Vec<u8> {
    const LOCALS: u32 = 1_000;
    let mut function = Function::new([(LOCALS, ValType::I32)]);
    let mut code = function.instructions();
    for _ in 0..depth {
        code.loop_(BlockType::Empty);
    }
    for local in 0..LOCALS {
        code.local_get(local).local_get((local + 1) % LOCALS).i32_add().local_set(local);
    }
    for level in 0..depth {
        // Begins this loop again.
        code.local_get(level % LOCALS).br_if(0).end();
    }
    code.end();
    component(&[function])
}

/// So many functions that do nothing.
pub(crate) fn tiny_functions(count: u32) -> Vec<u8> {
    let mut nothing = Function::new([]);
    nothing.instructions().end();
    component(&vec![nothing; count as usize])
}

/// A component with one core module: functions with these bodies, none of which takes or returns anything, and a page of memory.
fn component(bodies: &[Function]) -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut memories, mut code) = (MemorySection::new(), CodeSection::new());
    types.ty().function([], []);
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    for body in bodies {
        functions.function(0);
        code.function(body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}
