/* backstay._accel: what the files of the extension share.
 *
 * Everything here has a twin in Python that decides what is right; see
 * docs/decisions/0007-an-optional-accelerator.md. Only what the public headers of CPython offer is used.
 */
#ifndef BACKSTAY_ACCEL_H
#define BACKSTAY_ACCEL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000
#error "backstay._accel is for CPython 3.11 to 3.13: the pure Python package does without it"
#endif
#ifdef Py_GIL_DISABLED
#error "backstay._accel relies on the GIL: the pure Python package does without it"
#endif

/* Raised with each change of what the module offers or means: the package refuses an extension
 * that was built from other sources (src/backstay/_base/_acceleration.py has the same number). */
#define ACCEL_REVISION 5

/* Nothing but references: module.c walks over them as over an array. */
typedef struct {
    PyObject *task_factory_type, *recorder_type, *step_type;
    PyObject *loop_keyword; /* ("loop",): the keywords of the usual call of the task class */
    PyObject *str_context;
    PyObject *str_eager_start;
    PyObject *str_raw_spawned;
    PyObject *one;
    /* asyncio's classes, and how they answer */
    PyObject *loop_type, *task_type, *future_type;
    PyObject *future_done, *task_get_coro, *task_get_loop;
    PyObject *task_fut_waiter, *task_must_cancel;
} AccelState;

/* task_factory.c */
extern PyType_Spec accel_task_factory_spec;
extern const char accel_task_factory_doc[];
PyObject *accel_task_factory(PyObject *module, PyObject *args, PyObject *kwargs);

/* recorder.c */
extern PyType_Spec accel_recorder_spec, accel_step_spec;
extern const char accel_recorder_doc[];
PyObject *accel_recorder(PyObject *module, PyObject *args);

/* trial_deletion.c */
extern const char accel_judge_doc[];
PyObject *accel_judge(PyObject *module, PyObject *args, PyObject *kwargs);

#endif
