// Fibers: stacks that a thread goes on with in turn. On x86-64 a switch is a dozen instructions; elsewhere ucontext does it,
// with a call into the kernel each time.
#pragma once
#include <cstddef>
#include <cstdint>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulated {

#ifdef __x86_64__

struct Fiber {
  void *stack = nullptr;
};

// Leaves on `from`'s stack what a function must keep, and goes on where `to` was left.
__attribute__((naked, noinline)) static void swap_stacks(void **, void *) {
  asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret");
}
inline void change(Fiber &from, Fiber &to) { swap_stacks(&from.stack, to.stack); }
// The fiber begins with `entry`, which never returns.
inline void begin(Fiber &fiber, unsigned char *stack, size_t bytes, void (*entry)()) {
  auto *top = (uint64_t *)(((uintptr_t)stack + bytes) & ~(uintptr_t)15);
  // As after a call: a place to return to, entry's own, and six registers.
  top[-1] = 0, top[-2] = (uint64_t)entry;
  for (int i = 3; i <= 8; i++) top[-i] = 0;
  fiber.stack = top - 8;
}

#else

struct Fiber {
  ucontext_t context;
};
inline void change(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }
inline void begin(Fiber &fiber, unsigned char *stack, size_t bytes, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}

#endif

}  // namespace emulated
