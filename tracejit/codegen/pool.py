"""The thread pool, as LLVM text: a parallel loop whose caller never waits for a thread to wake up.

    void parallel_for(ptr fn, ptr args, ptr dims, ptr steps, ptr data, i64, i64, i32)
    void pool_start(i64 workers)

Chunk ``r`` of ``dims[0]`` runs ``fn(&pair, &1, steps, data)`` with ``pair = args[0] + r *
steps[0]`` on at most as many threads as the last argument says. Chunks are claimed one by one: the
caller takes them too and is done when all are *finished*, so a worker that sleeps, or that the
operating system does not run, costs nothing; after a fork, where the workers are gone, the caller
does everything. (OpenMP's loops end at a barrier that every thread must reach: it either spins,
which takes milliseconds when the thread waited for has no core, or sleeps, which takes as long as a
small kernel each time.)

The word ``ticket`` holds the number of the job (upper half) and the next chunk (lower half). A
chunk is claimed by compare-and-swap of the whole word, which succeeds only while that job is on;
what a job is made of does not change until its chunks are finished. Workers look for work for a
while before they sleep on a condition. A second caller at the same time runs its chunks itself.
"""

from __future__ import annotations

from tracejit.codegen.target import Target

#: turns of the loop in which a worker looks for work before it sleeps: some 100 us
SPINS = 6000
#: turns in which the caller waits for a worker's last chunk before it offers its core to others
PATIENCE = 2000

_TEXT = """\
@ticket = internal global i64 0, align 64
@finished = internal global i64 0, align 64
@sleepers = internal global i64 0, align 64
@busy = internal global i64 0, align 64
@count = internal global i64 0, align 64
@limit = internal global i64 0, align 64
@job_fn = internal global ptr null
@job_base = internal global ptr null
@job_step = internal global i64 0
@job_steps = internal global ptr null
@job_data = internal global ptr null
@mutex = internal global [128 x i8] zeroinitializer, align 64
@condition = internal global [128 x i8] zeroinitializer, align 64
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @sched_yield()

; claim one chunk and run it; false when there is none left for this thread, whose number is %me
define internal i1 @work(i64 %me) {
entry:
  %pair = alloca ptr
  %one = alloca i64
  br label %look
look:
  %seen = load atomic i64, ptr @ticket acquire, align 8
  %chunk = and i64 %seen, 4294967295
  %chunks = load atomic i64, ptr @count acquire, align 8
  %some = icmp ult i64 %chunk, %chunks
  %limit = load atomic i64, ptr @limit acquire, align 8
  %may = icmp ult i64 %me, %limit
  %try = and i1 %some, %may
  br i1 %try, label %claim, label %none
claim:
  %next = add i64 %seen, 1
  %swap = cmpxchg ptr @ticket, i64 %seen, i64 %next acq_rel acquire, align 8
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %run, label %look
run:
  %fn = load ptr, ptr @job_fn
  %base = load ptr, ptr @job_base
  %step = load i64, ptr @job_step
  %steps = load ptr, ptr @job_steps
  %data = load ptr, ptr @job_data
  %offset = mul i64 %chunk, %step
  %place = getelementptr i8, ptr %base, i64 %offset
  store ptr %place, ptr %pair
  store i64 1, ptr %one
  call void %fn(ptr %pair, ptr %one, ptr %steps, ptr %data)
  %before = atomicrmw add ptr @finished, i64 1 acq_rel, align 8
  ret i1 true
none:
  ret i1 false
}

define internal i1 @waiting(i64 %me) {
  %seen = load atomic i64, ptr @ticket seq_cst, align 8
  %chunk = and i64 %seen, 4294967295
  %chunks = load atomic i64, ptr @count seq_cst, align 8
  %some = icmp ult i64 %chunk, %chunks
  %limit = load atomic i64, ptr @limit seq_cst, align 8
  %may = icmp ult i64 %me, %limit
  %try = and i1 %some, %may
  ret i1 %try
}

define internal ptr @worker(ptr %number) {
entry:
  %me = ptrtoint ptr %number to i64
  br label %awake
awake:
  br label %spin
spin:
  %turn = phi i64 [ 0, %awake ], [ %turns, %idle ]
  %did = call i1 @work(i64 %me)
  br i1 %did, label %awake, label %idle
idle:
  PAUSE
  %turns = add i64 %turn, 1
  %tired = icmp ugt i64 %turns, SPINS
  br i1 %tired, label %sleep, label %spin
sleep:
  %l = call i32 @pthread_mutex_lock(ptr @mutex)
  %s = atomicrmw add ptr @sleepers, i64 1 seq_cst, align 8
  br label %check
check:
  %more = call i1 @waiting(i64 %me)
  br i1 %more, label %wake, label %wait
wait:
  %w = call i32 @pthread_cond_wait(ptr @condition, ptr @mutex)
  br label %check
wake:
  %t = atomicrmw sub ptr @sleepers, i64 1 seq_cst, align 8
  %u = call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %awake
}

define void @pool_start(i64 %workers) {
entry:
  %thread = alloca i64
  %m = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %c = call i32 @pthread_cond_init(ptr @condition, ptr null)
  br label %head
head:
  %k = phi i64 [ 0, %entry ], [ %next, %more ]
  %again = icmp ult i64 %k, %workers
  br i1 %again, label %more, label %done
more:
  %next = add i64 %k, 1
  %number = inttoptr i64 %next to ptr
  %r = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %number)
  %id = load ptr, ptr %thread
  %d = call i32 @pthread_detach(ptr %id)
  br label %head
done:
  ret void
}

define void @parallel_for(ptr %fn, ptr %args, ptr %dims, ptr %steps, ptr %data,
                          i64 %inner, i64 %arrays, i32 %threads) {
entry:
  %chunks = load i64, ptr %dims
  %base = load ptr, ptr %args
  %step = load i64, ptr %steps
  %was = atomicrmw xchg ptr @busy, i64 1 acq_rel, align 8
  %free = icmp eq i64 %was, 0
  br i1 %free, label %publish, label %alone
alone:
  %pair = alloca ptr
  %one = alloca i64
  store i64 1, ptr %one
  br label %each
each:
  %k = phi i64 [ 0, %alone ], [ %after, %body ]
  %left = icmp ult i64 %k, %chunks
  br i1 %left, label %body, label %end
body:
  %offset = mul i64 %k, %step
  %place = getelementptr i8, ptr %base, i64 %offset
  store ptr %place, ptr %pair
  call void %fn(ptr %pair, ptr %one, ptr %steps, ptr %data)
  %after = add i64 %k, 1
  br label %each
publish:
  store ptr %fn, ptr @job_fn
  store ptr %base, ptr @job_base
  store i64 %step, ptr @job_step
  store ptr %steps, ptr @job_steps
  store ptr %data, ptr @job_data
  store atomic i64 0, ptr @finished release, align 8
  %old = load atomic i64, ptr @ticket acquire, align 8
  %number = lshr i64 %old, 32
  %following = add i64 %number, 1
  %fresh = shl i64 %following, 32
  ; no chunk can be claimed in between: those of the old job are all taken, and the count is that
  ; of the new job only once the ticket is
  store atomic i64 0, ptr @count seq_cst, align 8
  %most = sext i32 %threads to i64
  store atomic i64 %most, ptr @limit seq_cst, align 8
  store atomic i64 %fresh, ptr @ticket seq_cst, align 8
  store atomic i64 %chunks, ptr @count seq_cst, align 8
  %asleep = load atomic i64, ptr @sleepers seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %call, label %take
call:
  %l = call i32 @pthread_mutex_lock(ptr @mutex)
  %b = call i32 @pthread_cond_broadcast(ptr @condition)
  %u = call i32 @pthread_mutex_unlock(ptr @mutex)
  br label %take
take:
  %did = call i1 @work(i64 0)
  br i1 %did, label %take, label %await
await:
  %turn = phi i64 [ 0, %take ], [ %turns, %pause ], [ 0, %yield ]
  %finished = load atomic i64, ptr @finished acquire, align 8
  %all = icmp eq i64 %finished, %chunks
  br i1 %all, label %leave, label %pause
pause:
  PAUSE
  %turns = add i64 %turn, 1
  %long = icmp ugt i64 %turns, PATIENCE
  br i1 %long, label %yield, label %await
yield:
  %y = call i32 @sched_yield()
  br label %await
leave:
  store atomic i64 0, ptr @busy release, align 8
  br label %end
end:
  ret void
}
"""

#: by the start of the target's name: how a core is told that it waits, and the declaration for it
_PAUSES = {
    "x86": ("call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"),
    "aarch64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
    "arm64": ("call void @llvm.aarch64.hint(i32 1)", "declare void @llvm.aarch64.hint(i32)"),
}


def print_pool(target: Target) -> str:
    """LLVM text of the pool for a CPU."""
    found = (text for start, text in _PAUSES.items() if target.triple.startswith(start))
    pause, declared = next(found, ("", ""))
    body = _TEXT.replace("PAUSE", pause).replace("SPINS", str(SPINS))
    body = body.replace("PATIENCE", str(PATIENCE))
    head = [f'target triple = "{target.triple}"', f'target datalayout = "{target.layout}"']
    return "\n".join([*head, declared, body])
