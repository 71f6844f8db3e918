/* A delegate for the tests: it computes NEG of floats as -x + offset, so that its results show that it ran. Custom
   operators named edgetpu-custom-op, with floats, are the same to it.

   Options: offset; device; mode, what it does besides: "fail" (says why it is not created), "silent" (does not),
   "tell" (says which options it was given, and is not created), "crash", "crash_in_invoke", "refuse" (fails on the
   graph), "nothing" (takes no operator), "together" (takes operators in a row as one piece, and not one by one).

   Declared here is what it needs of LiteRT's C interface, with members in the order and of the sizes that
   tflite/core/c/common.h and tflite/delegates/external/external_delegate_interface.h have. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, ERROR = 1, DELEGATE_ERROR = 2, CUSTOM = 32, NEG = 59, FLOAT32 = 1, DYNAMIC_TENSORS = 1 };

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct {
  IntArray *inputs, *outputs, *intermediates, *temporaries;
  void *user_data, *builtin_data;
  const void *custom_initial_data;
  int custom_initial_data_size;
  Delegate *delegate;
  bool might_have_side_effect;
} Node;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external;
  void *(*async_kernel)(Context *, Node *);
  uint64_t inplace_operator;
} Registration;

struct Context { /* what follows these members is never touched, and a context is only had by pointer */
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace_node_subsets_with_delegate_kernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from_buffer_handle, *copy_to_buffer_handle, *free_buffer_handle;
  int64_t flags;
  void *opaque_delegate_builder;
};

typedef struct { Delegate *delegate; IntArray *nodes_to_replace, *input_tensors, *output_tensors; } Params;

typedef struct { Delegate delegate; float offset; char mode[32]; } Own;
typedef struct { const Own *own; int operators; } Kernel;

static void crash(void) { *(volatile int *)16 = 1; }

static void *kernel_init(Context *context, const char *buffer, size_t length) {
  (void)context, (void)length;
  const Params *params = (const Params *)buffer;
  Kernel *kernel = malloc(sizeof *kernel);
  *kernel = (Kernel){params->delegate->data, params->nodes_to_replace->size};
  return kernel;
}

static void kernel_free(Context *context, void *data) {
  (void)context;
  free(data);
}

static int kernel_prepare(Context *context, Node *node) {
  const IntArray *dims = context->tensors[node->inputs->data[0]].dims;
  size_t size = sizeof(IntArray) + dims->size * sizeof(int);
  IntArray *same = memcpy(malloc(size), dims, size); /* the tensor keeps and frees it */
  return context->resize_tensor(context, &context->tensors[node->outputs->data[0]], same);
}

static int kernel_invoke(Context *context, Node *node) {
  const Kernel *kernel = node->user_data;
  if (!strcmp(kernel->own->mode, "crash_in_invoke")) crash();
  const Tensor *input = &context->tensors[node->inputs->data[0]], *output = &context->tensors[node->outputs->data[0]];
  const float *x = input->data;
  float *y = output->data;
  for (size_t i = 0; i < input->bytes / sizeof(float); ++i) {
    y[i] = x[i];
    for (int k = 0; k < kernel->operators; ++k) y[i] = -y[i] + kernel->own->offset;
  }
  return OK;
}

static int prepare(Context *context, Delegate *delegate) {
  const Own *own = delegate->data;
  if (!strcmp(own->mode, "refuse")) {
    context->report_error(context, "this delegate refuses every graph");
    return DELEGATE_ERROR;
  }
  if (!strcmp(own->mode, "nothing")) return OK;
  IntArray *plan;
  if (context->get_execution_plan(context, &plan) != OK) return ERROR;
  size_t size = sizeof(IntArray) + plan->size * sizeof(int);
  IntArray *nodes = malloc(size), *taken = malloc(size);
  memcpy(nodes, plan, size); /* the plan changes with every operator that is taken */
  taken->size = 0;
  int status = OK;
  Registration kernel = {kernel_init, kernel_free, kernel_prepare, kernel_invoke, NULL, 0, "Negator", 1, NULL, NULL, 0};
  bool together = !strcmp(own->mode, "together");
  for (int i = 0; i < nodes->size && status == OK; ++i) {
    Node *node;
    Registration *found;
    status = context->get_node_and_registration(context, nodes->data[i], &node, &found);
    if (status != OK) break;
    bool compiled = found->builtin_code == CUSTOM && !strcmp(found->custom_name, "edgetpu-custom-op");
    if (!compiled && found->builtin_code != NEG) continue;
    if (context->tensors[node->inputs->data[0]].type != FLOAT32) continue;
    taken->data[taken->size++] = nodes->data[i];
    if (together) continue;
    status = context->replace_node_subsets_with_delegate_kernels(context, kernel, taken, delegate);
    taken->size = 0;
  }
  if (status == OK && together)
    status = context->replace_node_subsets_with_delegate_kernels(context, kernel, taken, delegate);
  free(nodes);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  char told[512] = "options:", mode[32] = "";
  float offset = 0;
  for (size_t i = 0; i < count; ++i) {
    size_t end = strlen(told);
    snprintf(told + end, sizeof told - end, " %s=%s", keys[i], values[i]);
    if (!strcmp(keys[i], "mode")) snprintf(mode, sizeof mode, "%s", values[i]);
    if (!strcmp(keys[i], "offset")) offset = strtof(values[i], NULL);
  }
  if (!strcmp(mode, "crash")) crash();
  if (!strcmp(mode, "tell")) report(told);
  if (!strcmp(mode, "fail")) report("the negator is \xfft at home"); /* no UTF-8 */
  if (!strcmp(mode, "tell") || !strcmp(mode, "fail") || !strcmp(mode, "silent")) return NULL;
  Own *own = calloc(1, sizeof *own);
  own->offset = offset;
  strcpy(own->mode, mode);
  own->delegate.data = own;
  own->delegate.prepare = prepare;
  own->delegate.flags = DYNAMIC_TENSORS; /* as libedgetpu has it: only so are operators unknown to LiteRT taken */
  return &own->delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate->data); } /* crashes on NULL */
