/* All of Kiln but the door to OpenCL (kiln/opencl.h). */
#ifndef KILN_H
#define KILN_H

#include "base.h"
#include "context.h"
#include "data.h"
#include "exchange.h"
#include "graph.h"
#include "inspect.h"
#include "model.h"
#include "ops.h"
#include "tensor.h"
#include "train.h"
#include "tune.h"
#include "zoo.h"

#endif
