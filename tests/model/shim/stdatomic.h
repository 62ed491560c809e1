/* SPDX-License-Identifier: MIT
 *
 * What: <stdatomic.h> for product sources that are compiled into a model: every operation goes to the explorer.
 * Threads: a model's.
 */
#ifndef PIRN_TEST_MODEL_STDATOMIC_H
#define PIRN_TEST_MODEL_STDATOMIC_H

#include "explorer.h"

/* The objects are plain memory here. `_Atomic type name`, without parentheses, keeps its qualifier: it does no harm. */
#define _Atomic(type) type

typedef model_order memory_order;
#define memory_order_relaxed MODEL_RELAXED
#define memory_order_consume MODEL_CONSUME
#define memory_order_acquire MODEL_ACQUIRE
#define memory_order_release MODEL_RELEASE
#define memory_order_acq_rel MODEL_ACQ_REL
#define memory_order_seq_cst MODEL_SEQ_CST

#define MODEL_AT(object) ((void *)(uintptr_t)(object))
/* The comma makes a value of the object, and a value has no qualifiers. A statement expression may be unused. */
#define MODEL_TYPED(object, value)                                                                                     \
    __extension__({                                                                                                    \
        __typeof__(((void)0, *(object))) typed_ = (__typeof__(typed_))(uintptr_t)(value);                              \
        typed_;                                                                                                        \
    })
#define MODEL_WORD(value) ((uint64_t)(uintptr_t)(value))

#define atomic_init(object, value)          ((void)(*(object) = (value)))
#define atomic_load_explicit(object, order) MODEL_TYPED(object, model_load(MODEL_AT(object), sizeof *(object), order))
#define atomic_store_explicit(object, value, order)                                                                    \
    model_store(MODEL_AT(object), sizeof *(object), MODEL_WORD(value), order)
#define atomic_exchange_explicit(object, value, order)                                                                 \
    MODEL_TYPED(object, model_modify(MODEL_AT(object), sizeof *(object), MODEL_EXCHANGE, MODEL_WORD(value), order))
#define atomic_fetch_add_explicit(object, value, order)                                                                \
    MODEL_TYPED(object, model_modify(MODEL_AT(object), sizeof *(object), MODEL_ADD, MODEL_WORD(value), order))
#define atomic_fetch_sub_explicit(object, value, order)                                                                \
    MODEL_TYPED(object, model_modify(MODEL_AT(object), sizeof *(object), MODEL_SUB, MODEL_WORD(value), order))
#define atomic_fetch_or_explicit(object, value, order)                                                                 \
    MODEL_TYPED(object, model_modify(MODEL_AT(object), sizeof *(object), MODEL_OR, MODEL_WORD(value), order))
#define atomic_fetch_and_explicit(object, value, order)                                                                \
    MODEL_TYPED(object, model_modify(MODEL_AT(object), sizeof *(object), MODEL_AND, MODEL_WORD(value), order))
#define atomic_compare_exchange_strong_explicit(object, expected, value, success, failure)                             \
    model_compare_exchange(MODEL_AT(object), sizeof *(object), expected, MODEL_WORD(value), success, failure)
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit
#define atomic_thread_fence(order)            model_fence(order)

#endif
