;; What a module built for WASI preview 1 finds where a policy runs: nothing of the machine. Lines of stdout and stderr go to the
;; policy's log; the clock stands at the epoch and moves only when the guest sleeps; "random" bytes are the same in every instance (run-times
;; need some for their hash tables; secrets come from the interface `random`); there are no arguments, no environment and no files,
;; so that every other call says that the descriptor is bad (8).
;;
;; The module's memory is the only one there is. SCRATCH is replaced with the address of 1024 bytes in it that nobody else uses.
(module
  (import "env" "memory" (memory 0))
  (import "portcullis:policy/log@0.1.PATCH" "write" (func $log (param $level i32) (param $text i32) (param $len i32)))

  (global $used (mut i32) (i32.const 0))
  ;; Nanoseconds. Go's run-time takes a clock that says 0 for a broken one.
  (global $now (mut i64) (i64.const 1))
  (global $seed (mut i64) (i64.const 0x243f6a8885a308d3))

  ;; Writes the line that has come together, if any. stdout is `info` (2), stderr `warn` (3).
  (func $flush (param $fd i32)
    (if (global.get $used)
      (then
        (call $log (i32.add (local.get $fd) (i32.const 1)) (i32.const SCRATCH) (global.get $used))
        (global.set $used (i32.const 0)))))

  ;; Adds a byte to the line. The log takes UTF-8, and a line may be cut anywhere: what is not ASCII is shown as `?`.
  (func $put (param $fd i32) (param $byte i32)
    (if (i32.eq (local.get $byte) (i32.const 10)) (then (call $flush (local.get $fd)) (return)))
    (if (i32.eq (global.get $used) (i32.const 1024)) (then (call $flush (local.get $fd))))
    (i32.store8
      (i32.add (i32.const SCRATCH) (global.get $used))
      (select (i32.const 63) (local.get $byte) (i32.gt_u (local.get $byte) (i32.const 127))))
    (global.set $used (i32.add (global.get $used) (i32.const 1))))

  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $written i32) (result i32)
    (local $at i32) (local $end i32) (local $sum i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $vectors)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $vectors))))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $vectors))))
        (block $empty
          (loop $byte
            (br_if $empty (i32.eq (local.get $at) (local.get $end)))
            (call $put (local.get $fd) (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $byte)))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; A guest that ends itself traps, after its last words.
  (func (export "proc_exit") (param i32) (call $flush (i32.const 2)) unreachable)

  (func (export "clock_time_get") (param i32 i64) (param $at i32) (result i32)
    (i64.store (local.get $at) (global.get $now))
    (i32.const 0))
  (func (export "clock_res_get") (param i32) (param $at i32) (result i32)
    (i64.store (local.get $at) (i64.const 1))
    (i32.const 0))

  ;; xorshift64.
  (func (export "random_get") (param $at i32) (param $len i32) (result i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $len)))
        (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 13))))
        (global.set $seed (i64.xor (global.get $seed) (i64.shr_u (global.get $seed) (i64.const 7))))
        (global.set $seed (i64.xor (global.get $seed) (i64.shl (global.get $seed) (i64.const 17))))
        (i64.store8 (local.get $at) (i64.shr_u (global.get $seed) (i64.const 32)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $len (i32.sub (local.get $len) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Everything awaited has happened; of a timer, its time has come. A subscription has 48 bytes: userdata, its kind at 8, and of a timer
  ;; the time at 24 and at 40 whether that is absolute. An event has 32: userdata, the error at 8, the kind at 10.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (local $left i32) (local $until i64)
    (local.set $left (local.get $count))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (if (i32.eqz (i32.load8_u offset=8 (local.get $in)))
          (then
            (local.set $until (i64.load offset=24 (local.get $in)))
            (if (i32.eqz (i32.and (i32.load16_u offset=40 (local.get $in)) (i32.const 1)))
              (then (local.set $until (i64.add (local.get $until) (global.get $now)))))
            (if (i64.gt_u (local.get $until) (global.get $now)) (then (global.set $now (local.get $until))))))
        (i64.store (local.get $out) (i64.load (local.get $in)))
        (i64.store offset=8 (local.get $out) (i64.shl (i64.load8_u offset=8 (local.get $in)) (i64.const 16)))
        (i64.store offset=16 (local.get $out) (i64.const 0))
        (i64.store offset=24 (local.get $out) (i64.const 0))
        (local.set $in (i32.add (local.get $in) (i32.const 48)))
        (local.set $out (i32.add (local.get $out) (i32.const 32)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $events) (local.get $count))
    (i32.const 0))

  (func (export "sched_yield") (result i32) (i32.const 0))

  (func $none (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  (func $bad1 (param i32) (result i32) (i32.const 8))
  (export "fd_close" (func $bad1))
  (export "fd_datasync" (func $bad1))
  (export "fd_sync" (func $bad1))
  (export "proc_raise" (func $bad1))
  (func $bad2 (param i32 i32) (result i32) (i32.const 8))
  (export "fd_fdstat_get" (func $bad2))
  (export "fd_fdstat_set_flags" (func $bad2))
  (export "fd_filestat_get" (func $bad2))
  (export "fd_prestat_get" (func $bad2))
  (export "fd_renumber" (func $bad2))
  (export "fd_tell" (func $bad2))
  (export "sock_shutdown" (func $bad2))
  (func $bad3 (param i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_prestat_dir_name" (func $bad3))
  (export "path_create_directory" (func $bad3))
  (export "path_remove_directory" (func $bad3))
  (export "path_unlink_file" (func $bad3))
  (export "sock_accept" (func $bad3))
  (func $bad4 (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_read" (func $bad4))
  (func $bad5 (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "fd_readdir" (func $bad5))
  (export "path_filestat_get" (func $bad5))
  (export "path_symlink" (func $bad5))
  (export "sock_send" (func $bad5))
  (func $bad6 (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_readlink" (func $bad6))
  (export "path_rename" (func $bad6))
  (export "sock_recv" (func $bad6))
  (func $bad7 (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (export "path_link" (func $bad7))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 8))
  (func $bad_at (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (export "fd_pread" (func $bad_at))
  (export "fd_pwrite" (func $bad_at))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8)))
